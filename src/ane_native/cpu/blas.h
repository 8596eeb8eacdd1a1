// Matrix products from the platform's BLAS. The callers own the parallelism: OpenBLAS stays on the calling
// thread; Accelerate decides for itself.
#pragma once

#include <cstdint>
#include <string>

namespace ane::cpu {

enum class Transpose : bool { no, yes };

// c [m, n] = alpha * a [m, k] * b [k, n] + beta * c, row-major; a transposed operand is stored [k, m] or [n,
// k].
void gemm(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
          const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

// Name, version and the code path in use, such as "OpenBLAS 0.3.34 (SkylakeX)".
std::string gemm_library();

}  // namespace ane::cpu
