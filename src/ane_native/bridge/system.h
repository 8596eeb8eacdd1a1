// The running system, as far as the bridge goes by it.
#pragma once

#include <string>

namespace ane {

// A text of sysctl; "unavailable" if the system has none of this name.
std::string system_value(const char* name);

// Throws DeviceUnavailable before macOS 13.3.
void check_system_version();

// True if the system refuses programs with several weight files, as from macOS 27 on. Such a system also
// refuses files that changed after a program was described.
bool takes_one_weight_file();

// The rule in force, such as "one (macOS 27)".
std::string weight_file_rule();

}  // namespace ane
