// The backward of SwiGLU's gate, silu(h1) * h3. (Shazeer 2020)
#pragma once

#include <cstdint>

namespace ane::training {

// From the gradient of the gate's result, those of h1 and h3. Results may take the place of operands.
void gate_backward(const float* dgated, const float* h1, const float* h3, float* dh1, float* dh3,
                   int64_t count);

}  // namespace ane::training
