// Matrix products of the platform's BLAS, cut into tiles that the pool's threads take.
#pragma once

#include <cstdint>

#include "cpu/blas.h"

namespace ane::training {

// c [m, n] = base + a [m, k] * b [k, n]; row-major and dense, a transposed operand stored [k, m] or [n, k].
// Without a base it is the product alone; base may be c.
void product(cpu::Transpose transpose_a, cpu::Transpose transpose_b, int64_t m, int64_t n, int64_t k,
             const float* a, const float* b, const float* base, float* c);

}  // namespace ane::training
