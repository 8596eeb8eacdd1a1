// What the emulator needs to know of the machine it runs on.
#pragma once

#include <cstdint>
#include <string>

namespace ane {

// Physical cores that this process may run on; at least 1.
int physical_cores();
// Bytes of physical memory, or fewer where a container sets a limit; 0 where the system does not say.
int64_t physical_memory();
// Such as "AMD EPYC 9R14"; empty where the system does not say.
std::string cpu_name();

}  // namespace ane
