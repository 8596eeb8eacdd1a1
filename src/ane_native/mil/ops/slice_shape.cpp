#include "slice_shape.h"

#include <algorithm>

namespace ane::mil {

SliceWindow slice_by_size_window(const OpView& op) {
    const Shape& x = op.type("x").shape;
    SliceWindow w{op.integers("begin"), std::vector<int64_t>(x.size(), 1), op.integers("size"), {}};
    if (w.begin.size() != x.size())
        op.fail("begin", "begin needs one entry for each axis of " + to_string(x));
    if (w.extent.size() != x.size()) op.fail("size", "size needs one entry for each axis of " + to_string(x));
    for (size_t i = 0; i < x.size(); ++i) {
        if (w.begin[i] < 0 || w.begin[i] >= x[i])
            op.fail("begin", "begin " + std::to_string(w.begin[i]) + " is outside axis " + std::to_string(i) +
                                 " of " + to_string(x));
        if (w.extent[i] == -1) w.extent[i] = x[i] - w.begin[i];
        if (w.extent[i] < 1 || w.extent[i] > x[i] - w.begin[i])
            op.fail("size", "size " + std::to_string(w.extent[i]) + " from " + std::to_string(w.begin[i]) +
                                " is outside axis " + std::to_string(i) + " of " + to_string(x));
    }
    w.shape = w.extent;
    return w;
}

SliceWindow slice_by_index_window(const OpView& op) {
    const Shape& x = op.type("x").shape;
    const size_t rank = x.size();
    SliceWindow w{op.integers("begin"),
                  op.has("stride") ? op.integers("stride") : std::vector<int64_t>(rank, 1),
                  {},
                  {}};
    const auto end = op.integers("end");
    for (const auto name : {"begin", "end", "stride"})
        if (op.has(name) && op.integers(name).size() != rank)
            op.fail(name, std::string(name) + " needs one entry for each axis of " + to_string(x));
    const auto begin_mask = op.booleans("begin_mask", rank), end_mask = op.booleans("end_mask", rank),
               squeeze_mask = op.booleans("squeeze_mask", rank);
    for (size_t i = 0; i < rank; ++i) {
        const auto from_end = [&](int64_t index) { return index < 0 ? index + x[i] : index; };
        if (w.stride[i] < 1) op.fail("stride", "stride must be positive");
        w.begin[i] = begin_mask[i] ? 0 : from_end(w.begin[i]);
        const int64_t stop = squeeze_mask[i] ? w.begin[i] + 1
                             : end_mask[i]   ? x[i]
                                             : std::min(from_end(end[i]), x[i]);
        if (w.begin[i] < 0 || w.begin[i] >= x[i] || stop <= w.begin[i])
            op.fail("begin", "the slice of axis " + std::to_string(i) + " of " + to_string(x) + " is empty");
        w.extent.push_back((stop - w.begin[i] + w.stride[i] - 1) / w.stride[i]);
        if (!squeeze_mask[i]) w.shape.push_back(w.extent.back());
    }
    return w;
}

SplitExtents split_extents(const OpView& op) {
    const Shape& x = op.type("x").shape;
    SplitExtents result{op.axis("axis", static_cast<int64_t>(x.size())), {}};
    const int64_t extent = x[result.axis];
    if (op.has("split_sizes")) {
        result.extents = op.integers("split_sizes");
        int64_t sum = 0;
        for (const int64_t size : result.extents) {
            if (size < 1 || size > extent)
                op.fail("split_sizes", "each size must be 1 to " + std::to_string(extent));
            sum += size;
        }
        if (sum != extent)
            op.fail("split_sizes",
                    "sizes add up to " + std::to_string(sum) + ", the axis has " + std::to_string(extent));
        if (op.has("num_splits") && op.integer("num_splits") != static_cast<int64_t>(result.extents.size()))
            op.fail("num_splits", "num_splits differs from the number of split_sizes");
        return result;
    }
    const int64_t count = op.integer("num_splits");
    constexpr int64_t most_splits = 65536;
    if (count > most_splits)
        op.fail("num_splits", std::to_string(count) + " splits; at most " + std::to_string(most_splits));
    if (count < 1 || extent % count)
        op.fail("num_splits", "axis " + std::to_string(result.axis) + " of " + to_string(x) +
                                  " does not split into " + std::to_string(count) + " equal parts");
    result.extents.assign(count, extent / count);
    return result;
}

}  // namespace ane::mil
