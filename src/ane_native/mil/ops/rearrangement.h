// Operations whose result takes each element from one place of x, axis by axis.
#pragma once

#include <vector>

#include "../op.h"

namespace ane::mil {

// Where the elements of one axis of the result come from.
struct AxisSource {
    enum class Kind : uint8_t { shifted, repeated, reversed, reflected, clamped, scaled };
    Kind kind;
    int64_t size;        // of x
    int64_t extent;      // of the result
    int64_t before = 0;  // elements of the result in front of x's first

    // The index in x, or -1 where there is none.
    int64_t at(int64_t index) const;
};

// reverse, tile, pad, crop, resize_nearest_neighbor and upsample_nearest_neighbor: a source for each axis.
std::vector<AxisSource> axis_sources(const OpView& op);

// resize_bilinear and upsample_bilinear: result i of an axis is sampled at first + i * step, within the axis.
struct Sampling {
    int64_t size, extent;
    double first, step;
};
struct BilinearSampling {
    Sampling height, width;
};
BilinearSampling bilinear_sampling(const OpView& op);

// depth_to_space, space_to_depth, pixel_shuffle, pixel_unshuffle: x as `shape`, its axes permuted, as
// `result`.
struct BlockShuffle {
    Shape shape, result;
    std::vector<int64_t> permutation;
};
BlockShuffle block_shuffle(const OpView& op);

// space_to_batch and batch_to_space: x is padded, or the result cropped, as `axes` tell of height and width.
struct BatchShuffle {
    std::vector<AxisSource> axes;
    BlockShuffle shuffle;  // of x padded, or to the result before it is cropped
};
BatchShuffle batch_shuffle(const OpView& op);

// affine: `matrices` of them, one for each image or one for all.
struct AffineMap {
    int64_t batch, channels, height, width, out_height, out_width, matrices;
};
AffineMap affine_map(const OpView& op);

// topk: along `axis`.
struct TopK {
    int64_t axis, count;
};
TopK top_k(const OpView& op);

}  // namespace ane::mil
