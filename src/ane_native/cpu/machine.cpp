#include "machine.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <thread>

#if defined(__APPLE__)
#include <sys/sysctl.h>
#else
#include <sched.h>
#include <sys/mman.h>
#endif

namespace ane::cpu {

#if defined(__APPLE__)

int physical_cores() {
    int cores = 0;
    size_t size = sizeof cores;
    if (sysctlbyname("hw.perflevel0.physicalcpu", &cores, &size, nullptr, 0) != 0 || cores < 1)
        cores = static_cast<int>(std::thread::hardware_concurrency());
    return std::max(1, cores);
}

void prefer_large_pages(void*, int64_t) {}

std::string cpu_name() {
    char name[256] = {};
    size_t size = sizeof name - 1;
    return sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0 ? name : "";
}

#else

int physical_cores() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    std::set<std::string> cores;  // siblings of one core list the same threads
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &allowed)) continue;
        std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                           "/topology/thread_siblings_list");
        std::string siblings;
        if (!std::getline(file, siblings)) siblings = "cpu" + std::to_string(cpu);
        cores.insert(siblings);
    }
    return std::max(1, static_cast<int>(cores.size()));
}

void prefer_large_pages(void* memory, int64_t bytes) {
    madvise(memory, static_cast<size_t>(bytes), MADV_HUGEPAGE);
}

std::string cpu_name() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("model name") && line.find(": ") != std::string::npos)
            return line.substr(line.find(": ") + 2);
    return "";
}

#endif

int64_t physical_memory() {
    const int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    int64_t bytes = pages > 0 && page > 0 ? pages * page : 0;
    // A container may have less; where it has no limit the file says "max", and on macOS there is none.
    std::ifstream file("/sys/fs/cgroup/memory.max");
    int64_t limit = 0;
    if (file >> limit && limit > 0) bytes = bytes > 0 ? std::min(bytes, limit) : limit;
    return bytes;
}

}  // namespace ane::cpu
