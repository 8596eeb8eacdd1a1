// Matrix products of fp32: Accelerate's on macOS, elsewhere the package's own.
#pragma once

#include <cstdint>

namespace ane::cpu {

enum class Transpose : bool { no, yes };

// c [m, n] = base + a [m, k] * b [k, n]; row-major and dense, a transposed operand stored [k, m] or [n, k].
// Without a base it is the product alone; base may be c. The bits depend on the shapes and the SIMD level,
// not on the number of threads.
void product(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
             const float* b, const float* base, float* c);

}  // namespace ane::cpu
