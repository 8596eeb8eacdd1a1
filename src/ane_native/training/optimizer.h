// The optimizer's work on one array of parameters.
#pragma once

#include <cstdint>

#include "cpu/simd/vectors.h"

namespace ane::training {

void adam(const cpu::AdamStep& step, const float* gradient, float* parameter, float* mean, float* variance,
          int64_t count);

// The same bits for any number of threads.
double sum_of_squares(const float* x, int64_t count);

}  // namespace ane::training
