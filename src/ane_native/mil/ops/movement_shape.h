// The shapes of movement: where each element of a result comes from, axis by axis.
#pragma once

#include <vector>

#include "mil/op.h"

namespace ane::mil {

// The source of the elements of one axis of the result.
struct AxisSource {
    enum class Kind : uint8_t { shifted, repeated, reversed, reflected, clamped, scaled };
    Kind kind;
    int64_t size;        // of x
    int64_t extent;      // of the result
    int64_t before = 0;  // elements of the result in front of x's first

    // Returns the index in x, or -1 for an element that is not from x.
    int64_t at(int64_t index) const;
};

// Returns x's axes unchanged, for an operation to replace some.
std::vector<AxisSource> identical(const Shape& shape);
// Fails at x if it has no height and width.
void need_spatial_axes(const OpView& op, const Shape& x);

// reverse, tile, pad and crop: a source for each axis.
std::vector<AxisSource> axis_sources(const OpView& op);

// depth_to_space, space_to_depth, pixel_shuffle, pixel_unshuffle: x as `shape`, its axes permuted, as
// `result`.
struct BlockShuffle {
    Shape shape, result;
    std::vector<int64_t> permutation;
};
BlockShuffle block_shuffle(const OpView& op);

// space_to_batch and batch_to_space: `axes` pad the height and width of x, or crop those of the result.
struct BatchShuffle {
    std::vector<AxisSource> axes;
    BlockShuffle shuffle;  // of padded x, or to the result before the crop
};
BatchShuffle batch_shuffle(const OpView& op);

// gather and gather_along_axis: the constant indices into an axis of `extent` elements, none negative.
std::vector<int64_t> gather_indices(const OpView& op, int64_t extent);

// topk: along `axis`.
struct TopK {
    int64_t axis, count;
};
TopK top_k(const OpView& op);

}  // namespace ane::mil
