// Matrix products of the platform's BLAS, cut into tiles that the pool's threads take.
#pragma once

#include <cstdint>

#include "../gemm.h"

namespace ane::host {

// c [m, n] = a [m, k] * b [k, n], added to c if `accumulate`; row-major and dense, a transposed operand
// stored [k, m] or [n, k].
void product(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
             const float* b, float* c, bool accumulate);

}  // namespace ane::host
