#include "windows.h"

#include <algorithm>
#include <array>

namespace ane::mil {

namespace {

std::vector<int64_t> pair_of_positive(const OpView& op, std::string_view argument) {
    auto pair = op.integers(argument, {1, 1});
    if (pair.size() != 2 || pair[0] < 1 || pair[1] < 1)
        op.fail(argument, std::string(argument) + " must be two positive integers");
    return pair;
}

// Positions that a window of `reach` elements takes over `padded` ones; 0 if it does not fit.
int64_t positions(int64_t padded, int64_t reach, int64_t stride) {
    return padded < reach ? 0 : (padded - reach) / stride + 1;
}

// [top, bottom, left, right] around the last two of x's four axes, as pad_type and pad ask.
std::vector<int64_t> padding(const OpView& op, const Shape& x, const std::array<int64_t, 2>& reach,
                             const std::vector<int64_t>& strides) {
    std::vector<int64_t> pad = op.integers("pad", {0, 0, 0, 0});
    if (pad.size() != 4 || std::ranges::any_of(pad, [](int64_t p) { return p < 0 || p > 65536; }))
        op.fail("pad", "pad must be [top, bottom, left, right], each 0 to 65536");
    const std::string pad_type = op.text("pad_type", "valid");
    if (pad_type == "same") {
        for (size_t axis = 0; axis < 2; ++axis) {
            const int64_t extent = x[2 + axis], out = (extent + strides[axis] - 1) / strides[axis];
            const int64_t total = std::max<int64_t>(0, (out - 1) * strides[axis] + reach[axis] - extent);
            pad[2 * axis] = total / 2;
            pad[2 * axis + 1] = total - total / 2;
        }
    } else if (pad_type == "valid") {
        if (std::ranges::any_of(pad, [](int64_t p) { return p != 0; }))
            op.fail("pad", "pad_type \"valid\" has no padding: write \"custom\" to pad");
    } else if (pad_type != "custom") {
        op.fail("pad_type", "pad_type must be \"valid\", \"custom\" or \"same\", is \"" + pad_type + "\"");
    }
    return pad;
}

// Positions of a window of `kernel` elements if the last may reach past the padding, as long as it starts
// before its end.
int64_t positions_rounded_up(int64_t padded, int64_t kernel, int64_t stride, int64_t pad_after) {
    if (padded < kernel) return 0;
    const int64_t count = (padded - kernel + stride - 1) / stride + 1;
    return (count - 1) * stride >= padded - pad_after ? count - 1 : count;
}

}  // namespace

std::optional<Shape> broadcast(const Shape& a, const Shape& b) {
    const size_t rank = std::max(a.size(), b.size());
    Shape result(rank);
    for (size_t i = 0; i < rank; ++i) {  // from the last axis
        const int64_t extent_a = i < a.size() ? a[a.size() - 1 - i] : 1;
        const int64_t extent_b = i < b.size() ? b[b.size() - 1 - i] : 1;
        if (extent_a != extent_b && extent_a != 1 && extent_b != 1) return std::nullopt;
        result[rank - 1 - i] = std::max(extent_a, extent_b);
    }
    return result;
}

ConvWindow conv_window(const OpView& op) {
    const Shape &x = op.type("x").shape, &weight = op.type("weight").shape;
    if (x.size() != 4) op.fail("x", "x must be [batch, channels, height, width], is " + to_string(x));
    if (weight.size() != 4)
        op.fail("weight", "weight must be [out, in, kernel height, kernel width], is " + to_string(weight));
    const auto strides = pair_of_positive(op, "strides");
    const auto dilations = pair_of_positive(op, "dilations");
    const int64_t groups = op.integer("groups", 1);
    if (groups < 1 || x[1] % groups || weight[0] % groups)
        op.fail("groups", std::to_string(groups) + " groups do not divide " + std::to_string(x[1]) +
                              " input and " + std::to_string(weight[0]) + " output channels");
    if (weight[1] * groups != x[1])
        op.fail("weight", "weight has " + std::to_string(weight[1] * groups) + " input channels, x has " +
                              std::to_string(x[1]));

    const std::array<int64_t, 2> reach = {(weight[2] - 1) * dilations[0] + 1,
                                          (weight[3] - 1) * dilations[1] + 1};
    const auto pad = padding(op, x, reach, strides);
    const int64_t out_height = positions(x[2] + pad[0] + pad[1], reach[0], strides[0]);
    const int64_t out_width = positions(x[3] + pad[2] + pad[3], reach[1], strides[1]);
    if (out_height < 1 || out_width < 1)
        op.fail("weight",
                "the kernel " + to_string(Shape{weight[2], weight[3]}) + " is larger than the padded input");
    return {x[0],      x[1],      weight[0],  groups,     x[2],         x[3],         out_height, out_width,
            weight[2], weight[3], strides[0], strides[1], dilations[0], dilations[1], pad[0],     pad[2]};
}

ConvWindow conv_transpose_window(const OpView& op) {
    const Shape &x = op.type("x").shape, &weight = op.type("weight").shape;
    if (x.size() != 4) op.fail("x", "x must be [batch, channels, height, width], is " + to_string(x));
    if (weight.size() != 4)
        op.fail("weight",
                "weight must be [in, out / groups, kernel height, kernel width], is " + to_string(weight));
    const auto strides = pair_of_positive(op, "strides");
    const auto dilations = pair_of_positive(op, "dilations");
    const int64_t groups = op.integer("groups", 1);
    if (groups < 1 || x[1] % groups)
        op.fail("groups",
                std::to_string(groups) + " groups do not divide " + std::to_string(x[1]) + " input channels");
    if (weight[0] != x[1])
        op.fail("weight",
                "weight has " + std::to_string(weight[0]) + " input channels, x has " + std::to_string(x[1]));

    const std::array<int64_t, 2> reach = {(weight[2] - 1) * dilations[0] + 1,
                                          (weight[3] - 1) * dilations[1] + 1};
    const bool is_given = op.has("output_shape");
    Shape result = {x[0], weight[1] * groups, x[2] * strides[0], x[3] * strides[1]};  // of "same"
    if (is_given) {
        const Shape given = op.integers("output_shape");
        if (given.size() != 4 || given[0] != result[0] || given[1] != result[1])
            op.fail("output_shape", "output_shape must be [" + std::to_string(result[0]) + ", " +
                                        std::to_string(result[1]) + ", height, width], is " +
                                        to_string(given));
        result = given;
    }
    const auto pad = padding(op, result, reach, strides);
    for (size_t axis = 0; axis < 2; ++axis) {
        const int64_t padding = pad[2 * axis] + pad[2 * axis + 1];
        int64_t& extent = result[2 + axis];
        if (!is_given && op.text("pad_type", "valid") != "same")
            extent = (x[2 + axis] - 1) * strides[axis] + reach[axis] - padding;
        if (extent < 1 || extent > INT32_MAX)
            op.fail(is_given ? "output_shape" : "pad",
                    "the result " + to_string(result) + " has an axis that is not 1 to 2147483647");
        if (positions(extent + padding, reach[axis], strides[axis]) != x[2 + axis])
            op.fail("output_shape", "a convolution with these arguments does not take " + to_string(result) +
                                        " to " + to_string(x));
    }
    return {x[0],      result[1], x[1],       groups,     result[2],    result[3],    x[2],   x[3],
            weight[2], weight[3], strides[0], strides[1], dilations[0], dilations[1], pad[0], pad[2]};
}

PoolWindow pool_window(const OpView& op) {
    const Shape& x = op.type("x").shape;
    if (x.size() != 4) op.fail("x", "x must be [batch, channels, height, width], is " + to_string(x));
    const auto kernel = pair_of_positive(op, "kernel_sizes"), strides = pair_of_positive(op, "strides");
    const auto pad = padding(op, x, {kernel[0], kernel[1]}, strides);
    const bool rounds_up = op.boolean("ceil_mode", false);
    if (rounds_up && (pad[0] != pad[1] || pad[2] != pad[3]))
        op.fail("pad", "ceil_mode needs the same padding on both sides");
    std::array<int64_t, 2> out{};
    for (size_t axis = 0; axis < 2; ++axis) {
        const int64_t before = pad[2 * axis], after = pad[2 * axis + 1],
                      padded = x[2 + axis] + before + after;
        if (before >= kernel[axis] || after >= kernel[axis])
            op.fail("pad", "the padding must be smaller than the window " + to_string(kernel));
        out[axis] = rounds_up ? positions_rounded_up(padded, kernel[axis], strides[axis], after)
                              : positions(padded, kernel[axis], strides[axis]);
    }
    if (out[0] < 1 || out[1] < 1)
        op.fail("kernel_sizes", "the window " + to_string(kernel) + " is larger than the padded input");
    return {x[0] * x[1], x[2],       x[3],   out[0], out[1], kernel[0], kernel[1],
            strides[0],  strides[1], pad[0], pad[1], pad[2], pad[3]};
}

MatmulExtents matmul_extents(const OpView& op) {
    const Shape &x = op.type("x").shape, &y = op.type("y").shape;
    if (x.size() < 2) op.fail("x", "x must have at least two axes, is " + to_string(x));
    if (y.size() < 2) op.fail("y", "y must have at least two axes, is " + to_string(y));
    MatmulExtents m;
    m.transpose_x = op.boolean("transpose_x", false);
    m.transpose_y = op.boolean("transpose_y", false);
    m.rows = x[x.size() - (m.transpose_x ? 1 : 2)];
    m.inner = x[x.size() - (m.transpose_x ? 2 : 1)];
    m.columns = y[y.size() - (m.transpose_y ? 2 : 1)];
    const int64_t inner_y = y[y.size() - (m.transpose_y ? 1 : 2)];
    if (m.inner != inner_y)
        op.fail("y", "inner extents differ: x has " + std::to_string(m.inner) + ", y has " +
                         std::to_string(inner_y));
    const auto batch = broadcast({x.begin(), x.end() - 2}, {y.begin(), y.end() - 2});
    if (!batch) op.fail("y", "batch axes of " + to_string(x) + " and " + to_string(y) + " do not broadcast");
    m.batch = *batch;
    return m;
}

MatmulExtents einsum_extents(const OpView& op) {
    // The letters by the order of their first appearance.
    std::string equation, letters;
    for (const char c : op.text("equation")) {
        const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (is_letter && letters.find(c) == std::string::npos) letters += c;
        equation += is_letter ? static_cast<char>('a' + letters.find(c)) : c;
    }
    const size_t rank = equation == "abcd,adce->abce" ? 4 : equation == "abc,cbd->abd" ? 3 : 0;
    if (rank == 0)
        op.refuse("equation",
                  "the engine takes \"nchw,nwhu->nchu\" and \"chw,whu->chu\", in any letters, "
                  "not \"" +
                      op.text("equation") + "\"");
    const auto& values = op.tuple("values");
    if (values.size() != 2)
        op.fail("values", "values must be two tensors, is " + std::to_string(values.size()));
    const Shape &x = values[0]->type.shape, &y = values[1]->type.shape;
    for (const Shape* shape : {&x, &y})
        if (shape->size() != rank)
            op.fail("values", "the equation is for tensors of " + std::to_string(rank) + " axes, one is " +
                                  to_string(*shape));
    const auto batch_axes = [](const Shape& shape) {
        Shape batch(shape.begin(), shape.end() - 3);
        batch.push_back(shape[shape.size() - 2]);
        return batch;
    };
    if (x[rank - 1] != y[rank - 3])
        op.fail("values", "inner extents differ: the first value has " + std::to_string(x[rank - 1]) +
                              ", the second " + std::to_string(y[rank - 3]));
    const auto batch = broadcast(batch_axes(x), batch_axes(y));
    if (!batch)
        op.fail("values",
                "batch and height of " + to_string(x) + " and " + to_string(y) + " do not broadcast");
    return {*batch, x[rank - 3], x[rank - 1], y[rank - 1], false, false};
}

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
    SliceWindow w{op.integers("begin"), op.integers("stride", std::vector<int64_t>(rank, 1)), {}, {}};
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
