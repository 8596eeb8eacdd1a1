// Shapes that both the checker and the emulator derive from an operation's arguments.
#pragma once

#include <optional>

#include "../op.h"

namespace ane::mil {

// numpy's rule; nullopt where the shapes do not go together.
std::optional<Shape> broadcast(const Shape& a, const Shape& b);

// conv: x [batch, in_channels, height, width], weight [out_channels, in_channels / groups, kernel...].
struct ConvWindow {
    int64_t batch, in_channels, out_channels, groups;
    int64_t height, width, out_height, out_width, kernel_height, kernel_width;
    int64_t stride_height, stride_width, dilation_height, dilation_width, pad_top, pad_left;
};
ConvWindow conv_window(const OpView& op);
// conv_transpose: the convolution that takes a tensor like the result to one like x, with the same weight.
ConvWindow conv_transpose_window(const OpView& op);

// max_pool, avg_pool, l2_pool: x [..., height, width], `planes` of them.
struct PoolWindow {
    int64_t planes, height, width, out_height, out_width, kernel_height, kernel_width;
    int64_t stride_height, stride_width, pad_top, pad_bottom, pad_left, pad_right;
};
PoolWindow pool_window(const OpView& op);

// matmul: [batch..., rows, inner] x [batch..., inner, columns] once the operands are transposed as asked.
struct MatmulExtents {
    Shape batch;
    int64_t rows, inner, columns;
    bool transpose_x, transpose_y;
};
MatmulExtents matmul_extents(const OpView& op);
// einsum: [batch..., rows, height, inner] and [batch..., inner, height, columns] to [batch..., rows, height,
// columns]; the height is the last of the batch axes.
MatmulExtents einsum_extents(const OpView& op);

// slice_by_size and slice_by_index: begin and stride for each axis of x, and the extent before squeezing.
struct SliceWindow {
    std::vector<int64_t> begin, stride, extent;
    Shape shape;  // without the axes of squeeze_mask
};
SliceWindow slice_by_size_window(const OpView& op);
SliceWindow slice_by_index_window(const OpView& op);

// split: the extent of each result along `axis`.
struct SplitExtents {
    int64_t axis;
    std::vector<int64_t> extents;
};
SplitExtents split_extents(const OpView& op);

}  // namespace ane::mil
