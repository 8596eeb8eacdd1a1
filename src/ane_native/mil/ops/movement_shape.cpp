#include "movement_shape.h"

#include <algorithm>
#include <array>

namespace ane::mil {

using Kind = AxisSource::Kind;

std::vector<AxisSource> identical(const Shape& shape) {
    std::vector<AxisSource> axes;
    for (const int64_t size : shape) axes.push_back({Kind::shifted, size, size});
    return axes;
}

void need_spatial_axes(const OpView& op, const Shape& x) {
    if (x.size() < 3) op.fail("x", "x must have at least three axes, is " + to_string(x));
}

namespace {

std::vector<AxisSource> reversed(const OpView& op, const Shape& x) {
    auto axes = identical(x);
    for (const int64_t axis : op.axes("axes", static_cast<int64_t>(x.size())))
        axes[axis].kind = Kind::reversed;
    return axes;
}

std::vector<AxisSource> tiled(const OpView& op, const Shape& x) {
    const auto reps = op.integers("reps");
    if (reps.size() != x.size()) op.fail("reps", "reps needs one entry for each axis of " + to_string(x));
    auto axes = identical(x);
    for (size_t i = 0; i < reps.size(); ++i) {
        if (reps[i] < 1) op.fail("reps", "each of reps must be positive");
        axes[i] = {Kind::repeated, x[i], x[i] * reps[i]};
    }
    return axes;
}

std::vector<AxisSource> padded(const OpView& op, const Shape& x) {
    const auto pad = op.integers("pad");
    const std::string mode = op.text("mode");
    if (mode != "constant" && mode != "reflect" && mode != "replicate")
        op.fail("mode", "mode must be constant, reflect or replicate, is \"" + mode + "\"");
    if (pad.size() % 2 != 0 || pad.size() > 2 * x.size())
        op.fail("pad", "pad needs two entries for each of the last axes of " + to_string(x));
    if (op.has("constant_val") && op.type("constant_val").elements() != 1)
        op.fail("constant_val", "constant_val must be a scalar");
    auto axes = identical(x);
    const size_t first = x.size() - pad.size() / 2;
    for (size_t i = first; i < x.size(); ++i) {
        const int64_t before = pad[2 * (i - first)], after = pad[2 * (i - first) + 1];
        const int64_t most = mode == "reflect" ? x[i] - 1 : mode == "replicate" ? x[i] : INT32_MAX;
        if (before < 0 || after < 0 || before > most || after > most)
            op.fail("pad", "the padding of axis " + std::to_string(i) + " of " + to_string(x) +
                               " must be 0 to " + std::to_string(most) + " in mode " + mode);
        const Kind kind = mode == "reflect"     ? Kind::reflected
                          : mode == "replicate" ? Kind::clamped
                                                : Kind::shifted;
        axes[i] = {kind, x[i], before + x[i] + after, before};
    }
    return axes;
}

std::vector<AxisSource> cropped(const OpView& op, const Shape& x) {
    need_spatial_axes(op, x);
    auto axes = identical(x);
    size_t axis = x.size() - 2;
    for (const auto name : {"crop_height", "crop_width"}) {
        const auto crop = op.integers(name);
        if (crop.size() != 2 || crop[0] < 0 || crop[1] < 0 || crop[0] + crop[1] >= x[axis])
            op.fail(name, std::string(name) + " must be two numbers that leave something of " +
                              std::to_string(x[axis]) + " elements");
        axes[axis] = {Kind::shifted, x[axis], x[axis] - crop[0] - crop[1], -crop[0]};
        ++axis;
    }
    return axes;
}

}  // namespace

int64_t AxisSource::at(int64_t index) const {
    const int64_t i = index - before;
    switch (kind) {
        case Kind::shifted: return i < 0 || i >= size ? -1 : i;
        case Kind::repeated: return i % size;
        case Kind::reversed: return size - 1 - i;
        case Kind::reflected: return i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i;
        case Kind::clamped: return std::clamp<int64_t>(i, 0, size - 1);
        case Kind::scaled: return i * size / extent;
    }
    return -1;
}

std::vector<AxisSource> axis_sources(const OpView& op) {
    const Shape& x = op.type("x").shape;
    if (op.op() == "reverse") return reversed(op, x);
    if (op.op() == "tile") return tiled(op, x);
    if (op.op() == "pad") return padded(op, x);
    return cropped(op, x);
}

BlockShuffle block_shuffle(const OpView& op) {
    const Shape& x = op.type("x").shape;
    if (x.size() != 4) op.fail("x", "x must be [batch, channels, height, width], is " + to_string(x));
    const bool to_space = op.op() == "depth_to_space" || op.op() == "pixel_shuffle";
    const std::string_view argument = op.op() == "pixel_shuffle"     ? "upscale_factor"
                                      : op.op() == "pixel_unshuffle" ? "downscale_factor"
                                                                     : "block_size";
    const int64_t b = op.integer(argument);
    if (b < 1 || b > 65536) op.fail(argument, std::string(argument) + " must be 1 to 65536");
    if (to_space ? x[1] % (b * b) != 0 : x[2] % b != 0 || x[3] % b != 0)
        op.fail(argument, std::to_string(b) +
                              (to_space ? " squared does not divide the channels of "
                                        : " does not divide height and width of ") +
                              to_string(x));
    const int64_t n = x[0], c = to_space ? x[1] / (b * b) : x[1], h = to_space ? x[2] : x[2] / b,
                  w = to_space ? x[3] : x[3] / b;
    // The position in a block is the slowest part of the channels for the _space_ operations, as in
    // TensorFlow, and the fastest for the pixel_ operations, as in PyTorch.
    if (op.op() == "depth_to_space") return {{n, b, b, c, h, w}, {n, c, h * b, w * b}, {0, 3, 4, 1, 5, 2}};
    if (op.op() == "pixel_shuffle") return {{n, c, b, b, h, w}, {n, c, h * b, w * b}, {0, 1, 4, 2, 5, 3}};
    if (op.op() == "space_to_depth") return {{n, c, h, b, w, b}, {n, c * b * b, h, w}, {0, 3, 5, 1, 2, 4}};
    return {{n, c, h, b, w, b}, {n, c * b * b, h, w}, {0, 1, 3, 5, 2, 4}};
}

BatchShuffle batch_shuffle(const OpView& op) {
    const Shape& x = op.type("x").shape;
    if (x.size() != 4) op.fail("x", "x must be [batch, channels, height, width], is " + to_string(x));
    const bool to_batch = op.op() == "space_to_batch";
    const auto block = op.integers("block_shape");
    if (block.size() != 2 || block[0] < 1 || block[1] < 1 || block[0] > 65536 || block[1] > 65536)
        op.fail("block_shape", "block_shape must be two numbers, each 1 to 65536");
    const std::string_view argument = to_batch ? "paddings" : "crops";
    const auto ends = op.pairs(argument, 2);
    if (std::ranges::any_of(ends, [](int64_t end) { return end < 0; }))
        op.fail(argument, std::string(argument) + " must be [[top, bottom], [left, right]], none negative");
    if (!to_batch && x[0] % (block[0] * block[1]) != 0)
        op.fail("block_shape",
                "a block of " + to_string(block) + " does not divide the batch of " + to_string(x));

    BatchShuffle result{identical(x), {}};
    for (size_t i = 0; i < 2; ++i) {
        const int64_t before = ends[2 * i], after = ends[2 * i + 1], size = x[2 + i];
        AxisSource& axis = result.axes[2 + i];
        axis = to_batch
                   ? AxisSource{Kind::shifted, size, before + size + after, before}
                   : AxisSource{Kind::shifted, size * block[i], size * block[i] - before - after, -before};
        if (axis.extent < 1)
            op.fail("crops", "the crops leave nothing of " + std::to_string(axis.size) + " elements");
        if (to_batch && axis.extent % block[i] != 0)
            op.fail("block_shape", std::to_string(block[i]) + " does not divide the " +
                                       std::to_string(axis.extent) + " elements of a padded axis");
    }
    const auto [n, c, h, w] = std::array{x[0], x[1], result.axes[2].extent, result.axes[3].extent};
    const int64_t blocks = block[0] * block[1];
    if (to_batch) {
        result.shuffle = {{n, c, h / block[0], block[0], w / block[1], block[1]},
                          {n * blocks, c, h / block[0], w / block[1]},
                          {3, 5, 0, 1, 2, 4}};
    } else {
        result.axes[0] = {Kind::shifted, n / blocks, n / blocks};
        result.shuffle = {{block[0], block[1], n / blocks, c, x[2], x[3]},
                          {n / blocks, c, x[2] * block[0], x[3] * block[1]},
                          {2, 3, 4, 0, 5, 1}};
    }
    return result;
}

std::vector<int64_t> gather_indices(const OpView& op, int64_t extent) {
    auto indices = op.whole_numbers("indices");
    for (int64_t& index : indices) {
        if (index < -extent || index >= extent)
            op.fail("indices", "index " + std::to_string(index) + " is outside an axis of " +
                                   std::to_string(extent) + " elements");
        if (index < 0) index += extent;
    }
    return indices;
}

TopK top_k(const OpView& op) {
    const Shape& x = op.type("x").shape;
    const TopK t{op.axis("axis", static_cast<int64_t>(x.size())), op.integer("k")};
    if (t.count < 1 || t.count > x[t.axis])
        op.fail("k", "k must be 1 to " + std::to_string(x[t.axis]) + ", the elements of the axis");
    return t;
}

}  // namespace ane::mil
