#include "window_shape.h"

#include <algorithm>

namespace ane::mil {

namespace {

// The extents behind batch and channels.
Shape spatial(const Shape& shape) { return {shape.begin() + 2, shape.end()}; }

void check_axes(const OpView& op, const Shape& x) {
    if (x.size() < 3) op.fail("x", "x must be [batch, channels, ...] of 3 to 5 axes, is " + to_string(x));
}

// One positive number for each axis behind the channels, by default 1.
std::vector<int64_t> steps(const OpView& op, std::string_view argument, const Shape& x) {
    if (!op.has(argument)) return std::vector<int64_t>(x.size() - 2, 1);
    auto numbers = op.integers(argument);
    if (numbers.size() != x.size() - 2 || std::ranges::any_of(numbers, [](int64_t n) { return n < 1; }))
        op.fail(argument, std::string(argument) +
                              " needs a positive integer for each axis behind the channels of " +
                              to_string(x));
    return numbers;
}

// The last axes of a window over x, without their extents. `sizes` are what pad_type and pad are about: the
// axes of x, or of the result for conv_transpose.
Window window(const OpView& op, const Shape& x, const Shape& sizes, const std::vector<int64_t>& kernel) {
    const size_t count = sizes.size();
    const auto strides = steps(op, "strides", x), dilations = steps(op, "dilations", x);
    const auto pad = op.has("pad") ? op.integers("pad") : std::vector<int64_t>(2 * count, 0);
    if (pad.size() != 2 * count || std::ranges::any_of(pad, [](int64_t p) { return p < 0 || p > 65536; }))
        op.fail("pad", "pad needs two numbers, each 0 to 65536, for each axis behind the channels of " +
                           to_string(x));
    const std::string pad_type = op.text("pad_type");
    const bool is_same = pad_type.starts_with("same");  // as many positions as the stride fits in
    if (pad_type != "valid" && pad_type != "custom" && pad_type != "same" && pad_type != "same_lower")
        op.fail("pad_type",
                R"(pad_type must be "valid", "custom", "same" or "same_lower", is ")" + pad_type + '"');
    if (pad_type == "valid" && std::ranges::any_of(pad, [](int64_t p) { return p != 0; }))
        op.fail("pad", R"(pad_type "valid" has no padding: write "custom" to pad)");

    Window result;
    for (size_t i = 0; i < count; ++i) {
        WindowAxis& axis = result.axes[result.axes.size() - count + i];
        axis = {sizes[i], 1, kernel[i], strides[i], dilations[i], pad[2 * i], pad[2 * i + 1]};
        if (!is_same) continue;
        const int64_t positions = (axis.size + axis.stride - 1) / axis.stride;
        const int64_t total = std::max<int64_t>(0, (positions - 1) * axis.stride + axis.reach() - axis.size);
        axis.before = (total + (pad_type == "same" ? 0 : 1)) / 2;
        axis.after = total - axis.before;
    }
    return result;
}

// Returns the number of positions of the window within the padded axis; 0 if it does not fit.
int64_t positions(const WindowAxis& axis) {
    const int64_t padded = axis.size + axis.before + axis.after;
    return padded < axis.reach() ? 0 : (padded - axis.reach()) / axis.stride + 1;
}

// The same if the last window may reach past the padding, as long as it starts before the padding ends.
int64_t positions_rounded_up(const WindowAxis& axis) {
    const int64_t padded = axis.size + axis.before + axis.after;
    if (padded < axis.kernel) return 0;
    const int64_t count = (padded - axis.kernel + axis.stride - 1) / axis.stride + 1;
    return (count - 1) * axis.stride >= padded - axis.after ? count - 1 : count;
}

void check_rank(const OpView& op, const std::string& form) {
    const Shape &x = op.type("x").shape, &weight = op.type("weight").shape;
    check_axes(op, x);
    if (weight.size() != x.size())
        op.fail("weight", "weight must be " + form + " with as many axes as x, " + to_string(x) + ", is " +
                              to_string(weight));
}

}  // namespace

ConvWindow conv_window(const OpView& op) {
    check_rank(op, "[out, in / groups, kernel...]");
    const Shape &x = op.type("x").shape, &weight = op.type("weight").shape;
    const int64_t groups = op.integer("groups");
    if (groups < 1 || x[1] % groups || weight[0] % groups)
        op.fail("groups", std::to_string(groups) + " groups do not divide " + std::to_string(x[1]) +
                              " input and " + std::to_string(weight[0]) + " output channels");
    if (weight[1] * groups != x[1])
        op.fail("weight", "weight has " + std::to_string(weight[1] * groups) + " input channels, x has " +
                              std::to_string(x[1]));
    ConvWindow w{window(op, x, spatial(x), spatial(weight)), x[0], x[1], weight[0], groups};
    for (WindowAxis& axis : w.axes) {
        axis.extent = positions(axis);
        if (axis.extent < 1)
            op.fail("weight",
                    "the kernel " + to_string(spatial(weight)) + " is larger than the padded input");
    }
    return w;
}

ConvWindow conv_transpose_window(const OpView& op) {
    check_rank(op, "[in, out / groups, kernel...]");
    const Shape &x = op.type("x").shape, &weight = op.type("weight").shape;
    const auto strides = steps(op, "strides", x);
    const int64_t groups = op.integer("groups");
    if (groups < 1 || x[1] % groups)
        op.fail("groups",
                std::to_string(groups) + " groups do not divide " + std::to_string(x[1]) + " input channels");
    if (weight[0] != x[1])
        op.fail("weight",
                "weight has " + std::to_string(weight[0]) + " input channels, x has " + std::to_string(x[1]));

    const bool is_given = op.has("output_shape");
    Shape result = {x[0], weight[1] * groups};
    for (size_t i = 0; i < strides.size(); ++i) result.push_back(x[2 + i] * strides[i]);  // for "same"
    if (is_given) {
        const Shape given = op.integers("output_shape");
        if (given.size() != x.size() || given[0] != result[0] || given[1] != result[1])
            op.fail("output_shape", "output_shape must be [" + std::to_string(result[0]) + ", " +
                                        std::to_string(result[1]) + ", ...] with as many axes as x, is " +
                                        to_string(given));
        result = given;
    }
    const bool is_computed = !is_given && !op.text("pad_type").starts_with("same");
    ConvWindow w{window(op, x, spatial(result), spatial(weight)), x[0], result[1], x[1], groups};
    for (size_t i = 2; i < x.size(); ++i) {
        WindowAxis& axis = w.axes[w.axes.size() - x.size() + i];
        axis.extent = x[i];
        if (is_computed) axis.size = (x[i] - 1) * axis.stride + axis.reach() - axis.before - axis.after;
        result[i] = axis.size;
    }
    for (const WindowAxis& axis : w.axes) {
        if (axis.size < 1 || axis.size > INT32_MAX)
            op.fail(is_given ? "output_shape" : "pad",
                    "the result " + to_string(result) + " has an axis that is not 1 to 2147483647");
        if (positions(axis) != axis.extent)
            op.fail("output_shape", "a convolution with these arguments does not take " + to_string(result) +
                                        " to " + to_string(x));
    }
    return w;
}

Window pool_window(const OpView& op) {
    const Shape& x = op.type("x").shape;
    check_axes(op, x);
    const auto kernel = steps(op, "kernel_sizes", x);
    Window w = window(op, x, spatial(x), kernel);
    const bool rounds_up = op.boolean("ceil_mode");
    for (WindowAxis& axis : w.axes) {
        if (rounds_up && axis.before != axis.after)
            op.fail("pad", "ceil_mode needs the same padding on both sides");
        if (axis.before >= axis.kernel || axis.after >= axis.kernel)
            op.fail("pad", "the padding must be smaller than the window " + to_string(kernel));
        axis.extent = rounds_up ? positions_rounded_up(axis) : positions(axis);
        if (axis.extent < 1)
            op.fail("kernel_sizes", "the window " + to_string(kernel) + " is larger than the padded input");
    }
    return w;
}

Shape window_result(const OpView& op, const Window& window, int64_t channels, int64_t WindowAxis::* extent) {
    const Shape& x = op.type("x").shape;
    Shape result = {x[0], channels};
    for (size_t i = x.size() - 2; i > 0; --i) result.push_back(window.axes[window.axes.size() - i].*extent);
    return result;
}

}  // namespace ane::mil
