// The positions at which resized and mapped images sample their source.
#pragma once

#include "movement_shape.h"

namespace ane::mil {

// resize_nearest_neighbor and upsample_nearest_neighbor: a source for each axis.
std::vector<AxisSource> nearest_sources(const OpView& op);

// resize_bilinear and upsample_bilinear: result i of an axis is sampled at first + i * step, within the axis.
struct Sampling {
    int64_t size, extent;
    double first, step;
};
struct BilinearSampling {
    Sampling height, width;
};
BilinearSampling bilinear_sampling(const OpView& op);

// affine: one matrix for each image, or one for all.
struct AffineMap {
    int64_t batch, channels, height, width, out_height, out_width, matrices;
};
AffineMap affine_map(const OpView& op);

}  // namespace ane::mil
