// RMSNorm over the channels of x [channels, positions]. (Zhang & Sennrich 2019)
#pragma once

#include <cstdint>

namespace ane::training {

struct NormShape {
    int64_t channels, positions;
    float epsilon;
};

// y = weight * x / rms(x)
void rms_norm(const NormShape& shape, const float* x, const float* weight, float* y);

// Adds the gradients to dx and dweight, unless they are null.
void rms_norm_backward(const NormShape& shape, const float* dy, const float* x, const float* weight,
                       float* dx, float* dweight);

}  // namespace ane::training
