#include "system.h"

#include <sys/sysctl.h>

#include <charconv>
#include <compare>
#include <optional>

#include "errors.h"

namespace ane {

namespace {

// The kernel's version, since a program built with an older SDK may be told that macOS 26 is 16
// (python/cpython issue 135675).
struct Darwin {
    int major = 0, minor = 0;
    auto operator<=>(const Darwin&) const = default;
};

constexpr Darwin oldest{22, 4};           // macOS 13.3, whose Accelerate has the matrix product of training
constexpr Darwin one_weight_file{26, 0};  // macOS 27 (Epistates/pmetal and others)

std::string release() { return system_value("kern.osrelease"); }

// Nothing if the system does not tell.
std::optional<Darwin> darwin() {
    const std::string text = release();
    const char *at = text.data(), *const end = at + text.size();
    Darwin version;
    const auto major = std::from_chars(at, end, version.major);
    if (major.ec != std::errc()) return std::nullopt;
    if (major.ptr != end && *major.ptr == '.') std::from_chars(major.ptr + 1, end, version.minor);
    return version;
}

// Darwin 20 to 24 are macOS 11 to 15, and 25 is macOS 26.
std::string macos(const Darwin& version) {
    if (version.major < 20) return "macOS 10";
    return "macOS " + std::to_string(version.major < 25 ? version.major - 9 : version.major + 1);
}

}  // namespace

std::string system_value(const char* name) {
    char value[256] = {};
    size_t size = sizeof value - 1;
    return sysctlbyname(name, value, &size, nullptr, 0) == 0 ? value : "unavailable";
}

void check_system_version() {
    const auto found = darwin();
    if (found && *found < oldest)
        throw DeviceUnavailable(macos(*found) + " (Darwin " + release() +
                                ") is too old: the Neural Engine needs macOS 13.3 (Darwin 22.4) or later; "
                                "use the emulator (ANEPERF_DEVICE=emulator)");
}

// One file is right on every system, so it is what an unknown one gets.
bool takes_one_weight_file() {
    const auto found = darwin();
    return !found || *found >= one_weight_file;
}

std::string weight_file_rule() {
    const auto found = darwin();
    return std::string(takes_one_weight_file() ? "one" : "many") +
           (found ? " (" + macos(*found) + ")" : " (the system does not tell its version)");
}

}  // namespace ane
