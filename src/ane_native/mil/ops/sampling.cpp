#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace ane::mil {

namespace {

int64_t target_size(const OpView& op, std::string_view name) {
    const int64_t size = op.integer(name);
    if (size < 1) op.fail(name, std::string(name) + " must be positive");
    return size;
}

int64_t scaled_size(const OpView& op, std::string_view name, int64_t size) {
    // In fp32, as coremltools: 1.4 times 5 is 7.
    const float scaled = std::floor(op.number(name) * static_cast<float>(size));
    if (!(scaled >= 1 && scaled < 0x1p31f))
        op.fail(name, std::string(name) + " times " + std::to_string(size) + " must be 1 to 2147483647");
    return static_cast<int64_t>(scaled);
}

// Height and width of the result of a resize_ or upsample_ operation.
std::pair<int64_t, int64_t> resized(const OpView& op, const Shape& x) {
    need_spatial_axes(op, x);
    if (op.op().starts_with("resize"))
        return {target_size(op, "target_size_height"), target_size(op, "target_size_width")};
    return {scaled_size(op, "scale_factor_height", x[x.size() - 2]),
            scaled_size(op, "scale_factor_width", x.back())};
}

Sampling sampling(int64_t size, int64_t extent, const std::string& mode) {
    const auto in = static_cast<double>(size), out = static_cast<double>(extent);
    if (mode == "DEFAULT") return {size, extent, 0, in / out};
    if (mode == "UNALIGN_CORNERS") return {size, extent, 0.5 * in / out - 0.5, in / out};
    if (mode == "OFFSET_CORNERS") {
        const double delta = std::max(1.0, in - 1) / out;
        return {size, extent, 0.5 * delta, delta};
    }
    const double lone = mode == "ALIGN_CORNERS" ? (in - 1) / 2 : 0;
    return extent == 1 ? Sampling{size, extent, lone, 0} : Sampling{size, extent, 0, (in - 1) / (out - 1)};
}

std::string sampling_mode(const OpView& op) {
    if (op.op() == "upsample_bilinear") {
        const bool align = op.boolean("align_corners"),
                   half = op.has("half_pixel_centers") ? op.boolean("half_pixel_centers") : !align;
        if (align && half)
            op.fail("half_pixel_centers", "align_corners and half_pixel_centers exclude each other");
        return align ? "STRICT_ALIGN_CORNERS" : half ? "UNALIGN_CORNERS" : "DEFAULT";
    }
    const std::string mode = op.text("sampling_mode");
    for (const auto known :
         {"STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"})
        if (mode == known) return mode;
    op.fail("sampling_mode", "there is no sampling_mode \"" + mode + "\"");
}

}  // namespace

std::vector<AxisSource> nearest_sources(const OpView& op) {
    const Shape& x = op.type("x").shape;
    const auto [height, width] = resized(op, x);
    auto axes = identical(x);
    axes[x.size() - 2] = {AxisSource::Kind::scaled, x[x.size() - 2], height};
    axes.back() = {AxisSource::Kind::scaled, x.back(), width};
    return axes;
}

BilinearSampling bilinear_sampling(const OpView& op) {
    const Shape& x = op.type("x").shape;
    const auto [height, width] = resized(op, x);
    const std::string mode = sampling_mode(op);
    return {sampling(x[x.size() - 2], height, mode), sampling(x.back(), width, mode)};
}

AffineMap affine_map(const OpView& op) {
    const Shape &x = op.type("x").shape, &matrix = op.type("transform_matrix").shape;
    if (x.size() != 4) op.fail("x", "x must be [batch, channels, height, width], is " + to_string(x));
    if (matrix.size() != 2 || (matrix[0] != 1 && matrix[0] != x[0]) || matrix[1] != 6)
        op.fail("transform_matrix", "transform_matrix must be [1, 6] or " + to_string(Shape{x[0], 6}) +
                                        ", is " + to_string(matrix));
    for (const auto& [name, only] : {std::pair{"sampling_mode", "bilinear"},
                                     {"padding_mode", "constant"},
                                     {"coordinates_mode", "normalized_minus_one_to_one"}})
        if (op.text(name) != only)
            op.refuse(name, std::string(name) + " must be \"" + only + "\", is \"" + op.text(name) + "\"");
    if (op.number("padding_value") != 0) op.refuse("padding_value", "padding_value must be 0");
    if (!op.boolean("align_corners")) op.refuse("align_corners", "align_corners must be true");
    return {x[0],     x[1], x[2], x[3], target_size(op, "output_height"), target_size(op, "output_width"),
            matrix[0]};
}

}  // namespace ane::mil
