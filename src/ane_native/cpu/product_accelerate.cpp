#define ACCELERATE_NEW_LAPACK
#include <Accelerate/Accelerate.h>

#include <algorithm>

#include "product.h"

namespace ane::cpu {

// Accelerate decides itself how many threads it uses.
void product(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
             const float* b, const float* base, float* c) {
    const auto flag = [](Transpose transpose) {
        return transpose == Transpose::yes ? CblasTrans : CblasNoTrans;
    };
    const auto extent = [](int64_t value) { return static_cast<int>(value); };
    if (base && base != c) std::copy_n(base, m * n, c);
    cblas_sgemm(CblasRowMajor, flag(transpose_a), flag(transpose_b), extent(m), extent(n), extent(k), 1.0f, a,
                extent(transpose_a == Transpose::yes ? m : k), b,
                extent(transpose_b == Transpose::yes ? k : n), base ? 1.0f : 0.0f, c, extent(n));
}

}  // namespace ane::cpu
