// Operations that repeat, pad, crop, resize, shuffle and sort.
#include "../../mil/ops/rearrangement.h"

#include <algorithm>
#include <cmath>

#include "copy.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

// Where one axis of the result comes from, in elements of x; -1 for padding.
std::vector<int64_t> offsets(const mil::AxisSource& axis, int64_t stride) {
    std::vector<int64_t> result;
    for (int64_t i = 0; i < axis.extent; ++i) {
        const int64_t source = axis.at(i);
        result.push_back(source < 0 ? -1 : source * stride);
    }
    return result;
}

half fill_of(Lowering& l, const mil::OpView& op) {
    if (!op.has("constant_val")) return 0;
    const float value = op.number("constant_val");
    half bits;
    l.kernels().to_half(&value, &bits, 1, {});
    return bits;
}

// Elements of x, or `fill`, as the axes tell.
void add_gather(Lowering& l, Buffer x, const std::vector<mil::AxisSource>& sources, half fill, Buffer y) {
    Shape shape;
    for (const mil::AxisSource& source : sources) shape.push_back(source.size);
    const auto strides = row_major_strides(shape);
    std::vector<std::vector<int64_t>> axes;
    for (size_t i = 0; i < sources.size(); ++i) axes.push_back(offsets(sources[i], strides[i]));
    if (axes.empty()) axes.push_back({0});
    const auto length = static_cast<int64_t>(axes.back().size());
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < axes.size(); ++i) rows *= static_cast<int64_t>(axes[i].size());
    l.step({x}, {y}, [=, axes = std::move(axes)](const Execution& e) {
        const int64_t rows_per_task = std::max<int64_t>(1, tile / length);
        e.threads.parallel_for(ceil_divide(rows, rows_per_task), [&](int64_t task, int) {
            const int64_t last = std::min(rows, (task + 1) * rows_per_task);
            for (int64_t row = task * rows_per_task; row < last; ++row) {
                int64_t rest = row, offset = 0;
                bool inside = true;
                for (size_t i = axes.size() - 1; i-- > 0;) {
                    const auto extent = static_cast<int64_t>(axes[i].size());
                    const int64_t source = axes[i][rest % extent];
                    rest /= extent;
                    inside = inside && source >= 0;
                    offset += source;
                }
                half* to = e.at<half>(y) + row * length;
                for (int64_t i = 0; i < length; ++i) {
                    const int64_t source = axes.back()[i];
                    to[i] = inside && source >= 0 ? e.at<half>(x)[offset + source] : fill;
                }
            }
        });
    });
}

void lower_from_sources(Lowering& l, const mil::OpView& op, Results results) {
    add_gather(l, l.buffer(op.value("x")), mil::axis_sources(op), fill_of(l, op), l.result(*results[0]));
}

void lower_upsample_nearest(Lowering& l, const mil::OpView& op, Results results) {
    for (const auto name : {"scale_factor_height", "scale_factor_width"})
        if (const float factor = op.number(name, 1.0f); factor != std::floor(factor))
            op.refuse(name,
                      "what a fractional factor samples is not documented, so the emulator does not run "
                      "it: use resize_nearest_neighbor");
    lower_from_sources(l, op, results);
}

void lower_block_shuffle(Lowering& l, const mil::OpView& op, Results results) {
    const mil::BlockShuffle shuffle = mil::block_shuffle(op);
    add_transpose(l, l.buffer(op.value("x")), shuffle.shape, shuffle.permutation, l.result(*results[0]));
}

Buffer room(Lowering& l, const Shape& shape) { return l.scratch(TensorType{DType::fp16, shape}.bytes()); }

void lower_space_to_batch(Lowering& l, const mil::OpView& op, Results results) {
    const auto [axes, shuffle] = mil::batch_shuffle(op);
    const Buffer padded = room(l, results[0]->type.shape);
    add_gather(l, l.buffer(op.value("x")), axes, 0, padded);
    add_transpose(l, padded, shuffle.shape, shuffle.permutation, l.result(*results[0]));
}

void lower_batch_to_space(Lowering& l, const mil::OpView& op, Results results) {
    const auto [axes, shuffle] = mil::batch_shuffle(op);
    const Buffer whole = room(l, shuffle.result);
    add_transpose(l, l.buffer(op.value("x")), shuffle.shape, shuffle.permutation, whole);
    add_gather(l, whole, axes, 0, l.result(*results[0]));
}

// Grows with the number; zeros are equal, and NaN is larger than everything else.
uint32_t order(half bits) {
    if (bits == 0x8000) bits = 0;
    if ((bits & 0x7fff) > 0x7c00) bits = 0x7fff;
    return bits & 0x8000 ? 0x7fffu - (bits & 0x7fffu) : 0x8000u + bits;
}

void lower_topk(Lowering& l, const mil::OpView& op, Results results) {
    if (!l.profile().has_topk)
        op.refuse("", std::string(l.profile().name) + " has no topk, which came with h14 (M2)");
    const mil::TopK t = mil::top_k(op);
    const mil::Value& value = op.value("x");
    const int64_t length = value.type.shape[t.axis], inner = row_major_strides(value.type.shape)[t.axis];
    const int64_t rows = value.type.elements() / length, count = t.count;
    const uint32_t flip = op.boolean("ascending", false) ? 0 : 0xffffu;
    const bool is_narrow = results.size() == 2 && results[1]->type.dtype == DType::uint16;
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    const Buffer indices = results.size() == 2 ? l.result(*results[1]) : -1;
    const Buffer scratch = l.scratch(l.workers() * length * static_cast<int64_t>(sizeof(uint64_t)));
    std::vector<Buffer> writes = {y, scratch};
    if (indices >= 0) writes.push_back(indices);
    l.step({x}, writes, [=](const Execution& e) {
        e.threads.parallel_for(rows, [&](int64_t row, int worker) {
            uint64_t* keys = e.at<uint64_t>(scratch) + worker * length;
            const half* from = e.at<half>(x) + row / inner * length * inner + row % inner;
            // The number first, then the index: of equals the first wins.
            for (int64_t i = 0; i < length; ++i)
                keys[i] = uint64_t{order(from[i * inner]) ^ flip} << 32 | static_cast<uint64_t>(i);
            std::partial_sort(keys, keys + count, keys + length);
            const int64_t to = row / inner * count * inner + row % inner;
            for (int64_t i = 0; i < count; ++i) {
                const auto index = static_cast<uint32_t>(keys[i]);
                e.at<half>(y)[to + i * inner] = from[index * inner];
                if (indices < 0) continue;
                if (is_narrow)
                    e.at<uint16_t>(indices)[to + i * inner] = static_cast<uint16_t>(index);
                else
                    e.at<uint32_t>(indices)[to + i * inner] = index;
            }
        });
    });
}

}  // namespace

std::span<const LoweringEntry> rearrangement_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"batch_to_space", lower_batch_to_space},
        {"crop", lower_from_sources},
        {"depth_to_space", lower_block_shuffle},
        {"pad", lower_from_sources},
        {"pixel_shuffle", lower_block_shuffle},
        {"pixel_unshuffle", lower_block_shuffle},
        {"resize_nearest_neighbor", lower_from_sources},
        {"reverse", lower_from_sources},
        {"space_to_batch", lower_space_to_batch},
        {"space_to_depth", lower_block_shuffle},
        {"tile", lower_from_sources},
        {"topk", lower_topk},
        {"upsample_nearest_neighbor", lower_upsample_nearest},
    };
    return table;
}

}  // namespace ane::emulator
