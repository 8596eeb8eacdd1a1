// The windows of convolutions and pools over height and width.
#pragma once

#include "mil/op.h"

namespace ane::mil {

// conv: x [batch, in_channels, height, width], weight [out_channels, in_channels / groups, kernel...].
struct ConvWindow {
    int64_t batch, in_channels, out_channels, groups;
    int64_t height, width, out_height, out_width, kernel_height, kernel_width;
    int64_t stride_height, stride_width, dilation_height, dilation_width, pad_top, pad_left;
};
ConvWindow conv_window(const OpView& op);
// conv_transpose, described by the forward convolution it is the gradient of.
ConvWindow conv_transpose_window(const OpView& op);

// max_pool, avg_pool, l2_pool: x [..., height, width], `planes` of them.
struct PoolWindow {
    int64_t planes, height, width, out_height, out_width, kernel_height, kernel_width;
    int64_t stride_height, stride_width, pad_top, pad_bottom, pad_left, pad_right;
};
PoolWindow pool_window(const OpView& op);

}  // namespace ane::mil
