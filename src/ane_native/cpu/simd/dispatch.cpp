#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "errors.h"
#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace ane::cpu {

namespace baseline {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
namespace avx512vnni {
extern const IntegerKernels integers;
}

namespace {

#if defined(__x86_64__)
// clang's __builtin_cpu_supports does not know f16c.
bool has_f16c() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

// Same as avx512 except for the integer products.
const Kernels& with_vnni() {
    static const Kernels vnni = [] {
        Kernels k = avx512::kernels;
        k.level = "avx512vnni";
        k.integers = &avx512vnni::integers;
        return k;
    }();
    return vnni;
}
#endif

// The levels that this CPU runs, narrowest first.
std::vector<const Kernels*> available_levels() {
    std::vector<const Kernels*> levels = {&baseline::kernels};
#if defined(__x86_64__)
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    if (has_avx2) levels.push_back(&avx2::kernels);
    if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        levels.push_back(&avx512::kernels);
        if (__builtin_cpu_supports("avx512vnni")) levels.push_back(&with_vnni());
    }
#endif
    return levels;
}

const Kernels& choose() {
    const std::vector<const Kernels*> levels = available_levels();
    const char* wanted = std::getenv("ANEPERF_SIMD");
    if (wanted == nullptr || *wanted == '\0') return *levels.back();
    std::string names;
    for (const Kernels* kernels : levels) {
        if (std::string_view(kernels->level) == wanted) return *kernels;
        names += std::string(names.empty() ? "" : ", ") + kernels->level;
    }
    throw ArgumentError(std::string("ANEPERF_SIMD=") + wanted +
                        ": no such SIMD level on this machine, which has " + names +
                        ". Unset it for the widest.");
}

}  // namespace

const Kernels& kernels() {
    static const Kernels& chosen = choose();
    return chosen;
}

}  // namespace ane::cpu
