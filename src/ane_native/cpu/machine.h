// Facts about the machine: cores, memory, name.
#pragma once

#include <cstdint>
#include <string>

namespace ane::cpu {

// Physical cores that this process may run on; at least 1.
int physical_cores();
// Bytes of physical memory, or fewer where a container sets a limit; 0 where the system does not say.
int64_t physical_memory();
// Asks for large pages, which the system may refuse, where `memory` is aligned to them.
constexpr int64_t large_page = int64_t{2} << 20;
void prefer_large_pages(void* memory, int64_t bytes);
// Such as "AMD EPYC 9R14"; empty where the system does not say.
std::string cpu_name();

}  // namespace ane::cpu
