// sysctlbyname by Apple's names, answered with what Linux knows. No answer can be taken for a Mac's.
#include <sys/sysctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "../../../src/ane_native/cpu/machine.h"
#include "faults.h"

namespace {

template <class Number>
std::string bytes_of(Number value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string text(const std::string& value) { return value + '\0'; }

// The value's bytes; empty for a name that this machine does not have.
std::string value_of(std::string_view name) {
    if (name == "machdep.cpu.brand_string") return text("aneperf stand-in on " + ane::cpu::cpu_name());
    if (name == "hw.model") return text("aneperf stand-in");
    if (name == "kern.osversion") return text("stand-in");
    // As macOS 26 and later may tell a program that was built with an older SDK.
    if (name == "kern.osproductversion") return text("16.0");
    if (name == "kern.osrelease") {
        const std::string version = ane_fault_system_version();
        if (!version.empty()) return text(version);
        return ane_standin_os() ? text(std::to_string(ane_standin_os() - 1) + ".0.0") : std::string();
    }
    if (name == "hw.memsize") return bytes_of<int64_t>(ane::cpu::physical_memory());
    if (name == "hw.physicalcpu") return bytes_of<int32_t>(ane::cpu::physical_cores());
    if (name == "hw.logicalcpu" || name == "hw.ncpu")
        return bytes_of<int32_t>(static_cast<int32_t>(sysconf(_SC_NPROCESSORS_ONLN)));
    return {};
}

}  // namespace

int sysctlbyname(const char* name, void* old_value, size_t* old_size, void* new_value, size_t) {
    const std::string value = value_of(name);
    if (value.empty()) {
        errno = ENOENT;
        return -1;
    }
    if (new_value) {
        errno = EPERM;
        return -1;
    }
    if (!old_size) return 0;
    const size_t room = *old_size;
    *old_size = value.size();
    if (!old_value) return 0;
    std::memcpy(old_value, value.data(), std::min(room, value.size()));
    if (room >= value.size()) return 0;
    *old_size = room;
    errno = ENOMEM;
    return -1;
}
