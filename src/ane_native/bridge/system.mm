#include "system.h"

#include <sys/sysctl.h>

#include <charconv>
#include <compare>
#include <optional>

#include "errors.h"

namespace ane {

namespace {

struct Version {
    int major = 0, minor = 0;
    auto operator<=>(const Version&) const = default;
};

constexpr Version oldest{13, 3};           // whose Accelerate has the matrix product that training calls
constexpr Version one_weight_file{27, 0};  // Epistates/pmetal and others

std::string product_version() { return system_value("kern.osproductversion"); }

// Nothing if the system does not tell.
std::optional<Version> version() {
    const std::string text = product_version();
    const char *at = text.data(), *const end = at + text.size();
    Version version;
    const auto major = std::from_chars(at, end, version.major);
    if (major.ec != std::errc()) return std::nullopt;
    if (major.ptr != end && *major.ptr == '.') std::from_chars(major.ptr + 1, end, version.minor);
    return version;
}

}  // namespace

std::string system_value(const char* name) {
    char value[256] = {};
    size_t size = sizeof value - 1;
    return sysctlbyname(name, value, &size, nullptr, 0) == 0 ? value : "unavailable";
}

void check_system_version() {
    const auto found = version();
    if (found && *found < oldest)
        throw DeviceUnavailable("macOS " + product_version() +
                                " is too old: the Neural Engine needs 13.3 or later; use the emulator "
                                "(ANEPERF_DEVICE=emulator)");
}

// One file is right on every system, so it is what an unknown one gets.
bool takes_one_weight_file() {
    const auto found = version();
    return !found || *found >= one_weight_file;
}

std::string weight_file_rule() {
    const auto found = version();
    return std::string(takes_one_weight_file() ? "one" : "many") +
           (found ? " (macOS " + std::to_string(found->major) + ")"
                  : " (the system does not tell its version)");
}

}  // namespace ane
