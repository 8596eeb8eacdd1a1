#include <string_view>

#include "../../emulator/simd/kernels.h"
#include "vectors.h"

namespace ane::host {

const Vectors& vectors() {
#if defined(__x86_64__)
    const std::string_view level = emulator::kernels().level;
    if (level == avx512_vectors.level) return avx512_vectors;
    if (level == avx2_vectors.level) return avx2_vectors;
#endif
    return baseline_vectors;
}

}  // namespace ane::host
