// How one generation of the engine departs from plain fp16 arithmetic, and what it refuses.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cpu/simd/kernels.h"

namespace ane::emulator {

struct ChipProfile {
    std::string_view name;
    bool is_engine() const { return numbers == cpu::Numbers::engine; }
    cpu::Numbers numbers;   // how fp16 is read, and how element-wise results are rounded
    cpu::Rounding product;  // convolutions and matrix products
    cpu::Rounding reduction;
    int64_t longest_exact_sum;     // along the last axis
    bool ignores_attention_mask;   // scaled_dot_product_attention computes as if attn_mask were absent
    float slice_limit;             // larger magnitudes overflow in a slice that starts inside the last axis
    bool transforms_kernels_of_3;  // Winograd's transform along the width, in convolutions 3 wide
    bool scales_sums;          // of a weight of integers times an activation of fp16: rounded, then scaled
    bool multiplies_integers;  // of 8 bits, where both operands of a product are dequantized ones
    bool casts_fp32;           // so that ports may be fp32
    bool has_sine;             // sin and cos
    bool has_topk;
    int64_t max_extent;                           // of batch, channels, and the axis of a vector
    int64_t max_spatial_extent;                   // of height and width, and of the matrices of matmul
    int64_t max_inner_extent;                     // terms of a matmul's sums
    int64_t max_kernel_width, max_kernel_height;  // of a convolution
    int64_t max_square_kernel;                    // a kernel as high as wide may be this wide
    int64_t max_pool_width;                       // of a max_pool's window
    int64_t max_constant_bytes;                   // of a program
};

// Throws ArgumentError for an unknown name.
const ChipProfile& chip_profile(std::string_view name);

}  // namespace ane::emulator
