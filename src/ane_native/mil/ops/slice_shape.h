// The parts that slices and splits take.
#pragma once

#include "mil/op.h"

namespace ane::mil {

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
