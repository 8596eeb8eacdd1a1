#include "window_shape.h"

#include <algorithm>
#include <array>

namespace ane::mil {

namespace {

std::vector<int64_t> pair_of_positive(const OpView& op, std::string_view argument) {
    auto pair = op.integers(argument);
    if (pair.size() != 2 || pair[0] < 1 || pair[1] < 1)
        op.fail(argument, std::string(argument) + " must be two positive integers");
    return pair;
}

// Returns the number of positions of a window of `reach` elements over `padded` elements; 0 if it does not
// fit.
int64_t positions(int64_t padded, int64_t reach, int64_t stride) {
    return padded < reach ? 0 : (padded - reach) / stride + 1;
}

// Returns the padding [top, bottom, left, right] of the last two of x's four axes, by pad_type and pad.
std::vector<int64_t> padding(const OpView& op, const Shape& x, const std::array<int64_t, 2>& reach,
                             const std::vector<int64_t>& strides) {
    std::vector<int64_t> pad = op.integers("pad");
    if (pad.size() != 4 || std::ranges::any_of(pad, [](int64_t p) { return p < 0 || p > 65536; }))
        op.fail("pad", "pad must be [top, bottom, left, right], each 0 to 65536");
    const std::string pad_type = op.text("pad_type");
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

// Returns the number of positions of a window of `kernel` elements if the last may reach past the padding, as
// long as it starts before the padding ends.
int64_t positions_rounded_up(int64_t padded, int64_t kernel, int64_t stride, int64_t pad_after) {
    if (padded < kernel) return 0;
    const int64_t count = (padded - kernel + stride - 1) / stride + 1;
    return (count - 1) * stride >= padded - pad_after ? count - 1 : count;
}

}  // namespace

ConvWindow conv_window(const OpView& op) {
    const Shape &x = op.type("x").shape, &weight = op.type("weight").shape;
    if (x.size() != 4) op.fail("x", "x must be [batch, channels, height, width], is " + to_string(x));
    if (weight.size() != 4)
        op.fail("weight", "weight must be [out, in, kernel height, kernel width], is " + to_string(weight));
    const auto strides = pair_of_positive(op, "strides");
    const auto dilations = pair_of_positive(op, "dilations");
    const int64_t groups = op.integer("groups");
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
    const int64_t groups = op.integer("groups");
    if (groups < 1 || x[1] % groups)
        op.fail("groups",
                std::to_string(groups) + " groups do not divide " + std::to_string(x[1]) + " input channels");
    if (weight[0] != x[1])
        op.fail("weight",
                "weight has " + std::to_string(weight[0]) + " input channels, x has " + std::to_string(x[1]));

    const std::array<int64_t, 2> reach = {(weight[2] - 1) * dilations[0] + 1,
                                          (weight[3] - 1) * dilations[1] + 1};
    const bool is_given = op.has("output_shape");
    Shape result = {x[0], weight[1] * groups, x[2] * strides[0], x[3] * strides[1]};  // for "same"
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
        if (!is_given && op.text("pad_type") != "same")
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
    const bool rounds_up = op.op() != "l2_pool" && op.boolean("ceil_mode");
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

}  // namespace ane::mil
