#include "faults.h"

#include <array>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

struct FaultName {
    std::string_view name;
    bool takes_number = false;
};

constexpr std::array<FaultName, ANE_FAULT_COUNT> fault_names = {{
    {"attributes_missing"},   {"compile_fails"},
    {"descriptor_nil"},       {"evaluate_cancelled", true},
    {"evaluate_fails"},       {"evaluate_fails_after", true},
    {"gives_statistics"},     {"load_fails"},
    {"load_fails_once"},      {"lock_fails"},
    {"missing_framework"},    {"model_nil"},
    {"raise_exception"},      {"request_nil"},
    {"slow_load", true},      {"statistics_refused"},
    {"surface_create_fails"}, {"unload_fails"},
    {"virtual_machine"},      {"without_error"},
}};

constexpr long unset = -1;

// The faults of one list.
struct FaultSet {
    std::array<long, ANE_FAULT_COUNT> values;
    std::string system_version;
    std::vector<std::string> classes;
    std::vector<std::pair<std::string, std::string>> selectors;

    FaultSet() { values.fill(unset); }
    bool add(std::string_view entry);
};

// The faults in force. Those that evaluate asks for are atomic; the names are read seldom.
struct Faults {
    std::array<std::atomic<long>, ANE_FAULT_COUNT> values;
    std::mutex names_in_use;
    std::string system_version;
    std::vector<std::string> classes;
    std::vector<std::pair<std::string, std::string>> selectors;

    Faults();
    void set(FaultSet set);
};

bool FaultSet::add(std::string_view entry) {
    const size_t equals = entry.find('=');
    const std::string_view name = entry.substr(0, equals);
    const std::string_view argument = equals == entry.npos ? "" : entry.substr(equals + 1);
    if (name == "missing_class" && !argument.empty()) {
        classes.emplace_back(argument);
        return true;
    }
    if (name == "system_version") {
        system_version = argument;
        return !argument.empty();
    }
    if (name == "missing_selector") {
        const size_t dot = argument.find('.');
        if (dot == argument.npos || dot == 0 || dot + 1 == argument.size()) return false;
        selectors.emplace_back(argument.substr(0, dot), argument.substr(dot + 1));
        return true;
    }
    for (size_t i = 0; i < fault_names.size(); ++i) {
        if (fault_names[i].name != name) continue;
        values[i] = 0;
        if (!fault_names[i].takes_number) return equals == entry.npos;
        const char* end = argument.data() + argument.size();
        const auto [stop, error] = std::from_chars(argument.data(), end, values[i]);
        return error == std::errc() && stop == end && values[i] >= 0;
    }
    return false;
}

std::optional<FaultSet> parse(std::string_view list) {
    FaultSet set;
    while (!list.empty()) {
        const size_t comma = std::min(list.find(','), list.size());
        if (!set.add(list.substr(0, comma))) return std::nullopt;
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return set;
}

const char* environment() {
    const char* list = std::getenv("ANE_STANDIN_FAULT");
    return list ? list : "";
}

Faults::Faults() {
    // Nobody hears of a malformed variable, so it must not pass for a machine without faults.
    FaultSet broken;
    broken.values[ANE_FAULT_MISSING_FRAMEWORK] = 0;
    set(parse(environment()).value_or(broken));
}

void Faults::set(FaultSet set) {
    const std::lock_guard lock(names_in_use);
    for (size_t i = 0; i < values.size(); ++i) values[i] = set.values[i];
    system_version = std::move(set.system_version);
    classes = std::move(set.classes);
    selectors = std::move(set.selectors);
}

Faults& faults() {
    static Faults* const instance = new Faults;  // outlives every thread
    return *instance;
}

// Takes one from a number above 0. False if none is left.
bool counted_down(std::atomic<long>& value) {
    long left = value.load();
    while (left > 0 && !value.compare_exchange_weak(left, left - 1)) {
    }
    return left > 0;
}

}  // namespace

bool ane_fault_strikes(AneFault fault) {
    std::atomic<long>& value = faults().values[fault];
    if (value.load(std::memory_order_relaxed) == unset) return false;
    switch (fault) {
        case ANE_FAULT_LOAD_FAILS_ONCE: return value.exchange(unset) != unset;
        case ANE_FAULT_EVALUATE_FAILS_AFTER: return !counted_down(value);
        case ANE_FAULT_EVALUATE_CANCELLED: return counted_down(value);
        default: return true;
    }
}

long ane_fault_value(AneFault fault) { return std::max(0L, faults().values[fault].load()); }

bool ane_fault_hides_class(const char* name) {
    const std::lock_guard lock(faults().names_in_use);
    for (const std::string& hidden : faults().classes)
        if (name && hidden == name) return true;
    return false;
}

void ane_fault_each_hidden_selector(void (*call)(const char*, const char*)) {
    const std::lock_guard lock(faults().names_in_use);
    for (const auto& [class_name, selector] : faults().selectors) call(class_name.c_str(), selector.c_str());
}

std::string ane_fault_system_version() {
    const std::lock_guard lock(faults().names_in_use);
    return faults().system_version;
}

bool ane_faults_set(const char* list) {
    auto set = parse(list ? list : environment());
    if (!set) return false;
    faults().set(std::move(*set));
    return true;
}
