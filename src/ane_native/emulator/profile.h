// How one generation of the engine departs from plain fp16 arithmetic, and what it refuses.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "simd/kernels.h"

namespace ane::emulator {

struct ChipProfile {
    std::string_view name;
    bool has_nan;  // false: an undefined result is +0, and NaN read from a port acts as +infinity
    Rounding elementwise;
    Rounding product;  // convolutions and matrix products
    Rounding reduction;
    bool ignores_attention_mask;  // scaled_dot_product_attention computes as if attn_mask were absent
    int64_t max_extent;           // of any axis
    int64_t max_kernel_width;     // of a convolution; the height has no limit
};

// Throws ArgumentError for an unknown name.
const ChipProfile& chip_profile(std::string_view name);

}  // namespace ane::emulator
