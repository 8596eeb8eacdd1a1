// The optimiser's work on one array of parameters.
#pragma once

#include <cstdint>

#include "simd/vectors.h"

namespace ane::host {

void adam(const AdamStep& step, const float* gradient, float* parameter, float* mean, float* variance,
          int64_t count);

// The same bits for any number of threads.
double sum_of_squares(const float* x, int64_t count);

}  // namespace ane::host
