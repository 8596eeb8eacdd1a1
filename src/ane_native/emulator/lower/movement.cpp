// Operations that move elements: reshape and its kin share memory, the others copy.
#include <algorithm>
#include <cmath>

#include "copy.h"
#include "emulator/transfer.h"
#include "gather.h"
#include "mil/ops/slice_shape.h"

namespace ane::emulator {

namespace {

int64_t count(const Shape& shape) { return TensorType{DType::fp16, shape}.elements(); }

void lower_view(Lowering& l, const mil::OpView& op, Results results) { l.alias(*results[0], op.value("x")); }

void lower_transpose(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    auto perm = op.integers("perm");
    for (int64_t& axis : perm) axis += axis < 0 ? x.type.rank() : 0;
    add_transpose(l, l.buffer(x), x.type, perm, l.result(*results[0]));
}

// Makes values infinite that the older engines' fixed-point copy of a slice cannot hold.
void overflow_past(half limit, half* x, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
        if ((x[i] & 0x7fff) > limit) x[i] = static_cast<half>((x[i] & 0x8000) | 0x7c00);
}

void add_slice(Lowering& l, const mil::Value& x, const mil::SliceWindow& w, const mil::Value& result) {
    auto strides = row_major_strides(x.type.shape);
    int64_t offset = 0;
    for (size_t i = 0; i < strides.size(); ++i) {
        offset += w.begin[i] * strides[i];
        strides[i] *= w.stride[i];
    }
    const Buffer from = l.buffer(x), to = l.result(result);
    const LoopNest<2> loops(w.extent, {strides, row_major_strides(w.extent)});
    const float limit = l.profile().slice_limit;
    if (w.begin.empty() || w.begin.back() == 0 || std::isinf(limit))
        return add_copy(l, from, offset, to, loops);
    l.note("a slice that starts inside the last axis overflows past " +
           std::to_string(static_cast<int>(limit)) + " on " + std::string(l.profile().name));
    const int64_t count = result.type.elements();
    half limit_bits;
    l.kernels().to_half(&limit, &limit_bits, 1, {});
    l.step({from}, {to}, [=](const Execution& e) {
        copy(e, e.at<half>(from) + offset, e.at<half>(to), loops);
        overflow_past(limit_bits, e.at<half>(to), count);
    });
}

void lower_slice_by_size(Lowering& l, const mil::OpView& op, Results results) {
    add_slice(l, op.value("x"), mil::slice_by_size_window(op), *results[0]);
}

void lower_slice_by_index(Lowering& l, const mil::OpView& op, Results results) {
    add_slice(l, op.value("x"), mil::slice_by_index_window(op), *results[0]);
}

void lower_split(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    const mil::SplitExtents split = mil::split_extents(op);
    mil::SliceWindow w{std::vector<int64_t>(x.type.shape.size(), 0),
                       std::vector<int64_t>(x.type.shape.size(), 1),
                       x.type.shape,
                       {}};
    for (size_t i = 0; i < results.size(); ++i) {
        w.extent[split.axis] = split.extents[i];
        add_slice(l, x, w, *results[i]);
        w.begin[split.axis] += split.extents[i];
    }
}

// A tensor that fills part of a result, from `offset` on.
struct Part {
    Buffer from;
    int64_t offset;
    LoopNest<2> loops;
};

// One step for all parts: a step of its own for a constant part would make the whole result a constant.
void add_parts(Lowering& l, const std::vector<Part>& parts, const mil::Value& result) {
    std::vector<Buffer> reads;
    for (const Part& part : parts) reads.push_back(part.from);
    const Buffer y = l.result(result);
    with_element(result.type.dtype, [&]<typename Element>(Element) {
        l.step(reads, {y}, [=](const Execution& e) {
            for (const Part& part : parts)
                copy(e, e.at<Element>(part.from), e.at<Element>(y) + part.offset, part.loops);
        });
    });
}

void lower_concat(Lowering& l, const mil::OpView& op, Results results) {
    const auto& values = op.tuple("values");
    const TensorType& type = results[0]->type;
    const int64_t axis = op.axis("axis", type.rank());
    const bool interleave = op.boolean("interleave");
    auto strides = row_major_strides(type.shape);
    const int64_t axis_stride = strides[axis];
    if (interleave) strides[axis] *= static_cast<int64_t>(values.size());
    std::vector<Part> parts;
    int64_t position = 0;
    for (const mil::Value* value : values) {
        const Shape& shape = value->type.shape;
        parts.push_back(
            {l.buffer(*value), position * axis_stride, {shape, {row_major_strides(shape), strides}}});
        position += interleave ? 1 : shape[axis];
    }
    add_parts(l, parts, *results[0]);
}

void lower_stack(Lowering& l, const mil::OpView& op, Results results) {
    auto strides = row_major_strides(results[0]->type.shape);
    const int64_t axis = op.axis("axis", results[0]->type.rank()), axis_stride = strides[axis];
    strides.erase(strides.begin() + axis);
    std::vector<Part> parts;
    for (const mil::Value* value : op.tuple("values")) {
        const Shape& shape = value->type.shape;
        const auto position = static_cast<int64_t>(parts.size());
        parts.push_back(
            {l.buffer(*value), position * axis_stride, {shape, {row_major_strides(shape), strides}}});
    }
    add_parts(l, parts, *results[0]);
}

half fill_of(Lowering& l, const mil::OpView& op) {
    if (op.op() != "pad") return 0;
    const float value = op.number("constant_val");
    half bits;
    l.kernels().to_half(&value, &bits, 1, {});
    return bits;
}

void lower_from_sources(Lowering& l, const mil::OpView& op, Results results) {
    add_gather(l, l.buffer(op.value("x")), mil::axis_sources(op), fill_of(l, op), l.result(*results[0]),
               op.type("x").dtype);
}

void lower_block_shuffle(Lowering& l, const mil::OpView& op, Results results) {
    const mil::BlockShuffle shuffle = mil::block_shuffle(op);
    add_transpose(l, l.buffer(op.value("x")), {DType::fp16, shuffle.shape}, shuffle.permutation,
                  l.result(*results[0]));
}

Buffer room(Lowering& l, const Shape& shape) { return l.scratch(TensorType{DType::fp16, shape}.bytes()); }

void lower_space_to_batch(Lowering& l, const mil::OpView& op, Results results) {
    const auto [axes, shuffle] = mil::batch_shuffle(op);
    const Buffer padded = room(l, results[0]->type.shape);
    add_gather(l, l.buffer(op.value("x")), axes, 0, padded);
    add_transpose(l, padded, {DType::fp16, shuffle.shape}, shuffle.permutation, l.result(*results[0]));
}

void lower_batch_to_space(Lowering& l, const mil::OpView& op, Results results) {
    const auto [axes, shuffle] = mil::batch_shuffle(op);
    const Buffer whole = room(l, shuffle.result);
    add_transpose(l, l.buffer(op.value("x")), {DType::fp16, shuffle.shape}, shuffle.permutation, whole);
    add_gather(l, whole, axes, 0, l.result(*results[0]));
}

// Rows of x for each index: x and the indices share `batch_dims` axes, and the indices replace another one.
void lower_gather(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& value = op.value("x");
    const Shape& shape = value.type.shape;
    const int64_t axis = op.axis("axis", value.type.rank()), extent = shape[axis];
    const auto indices = mil::gather_indices(op, extent);
    const int64_t batches = count({shape.begin(), shape.begin() + op.integer("batch_dims")}),
                  length = row_major_strides(shape)[axis];
    const auto per_batch = static_cast<int64_t>(indices.size()) / batches;
    const int64_t outer = value.type.elements() / (batches * extent * length);
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    l.step({x}, {y}, [=](const Execution& e) {
        e.threads.parallel_for(batches * outer, [&](int64_t task, int) {
            const int64_t* index = indices.data() + task / outer * per_batch;
            const half* from = e.at<half>(x) + task * extent * length;
            half* to = e.at<half>(y) + task * per_batch * length;
            for (int64_t i = 0; i < per_batch; ++i)
                std::copy_n(from + index[i] * length, length, to + i * length);
        });
    });
}

// One element of x for each index, whose place along `axis` it replaces.
void lower_gather_along_axis(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& value = op.value("x");
    const int64_t axis = op.axis("axis", value.type.rank()), extent = value.type.shape[axis];
    const auto indices = mil::gather_indices(op, extent);
    const int64_t inner = row_major_strides(value.type.shape)[axis], taken = results[0]->type.shape[axis];
    const int64_t outer = value.type.elements() / (extent * inner);
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    l.step({x}, {y}, [=](const Execution& e) {
        e.threads.parallel_for(outer, [&](int64_t task, int) {
            const int64_t first = task * taken * inner;
            for (int64_t i = 0; i < taken * inner; ++i)
                e.at<half>(y)[first + i] = e.at<half>(
                    x)[(task * extent + indices[static_cast<size_t>(first + i)]) * inner + i % inner];
        });
    });
}

// Grows with the number; zeros are equal, and NaN, which the engine does not know, is larger than everything
// else.
uint32_t order(half bits, Numbers numbers) {
    if (bits == 0x8000) bits = 0;
    if (numbers == Numbers::ieee && (bits & 0x7fff) > 0x7c00) bits = 0x7fff;
    return bits & 0x8000 ? 0x7fffu - (bits & 0x7fffu) : 0x8000u + bits;
}

void lower_topk(Lowering& l, const mil::OpView& op, Results results) {
    const mil::TopK t = mil::top_k(op);
    const mil::Value& value = op.value("x");
    const int64_t length = value.type.shape[t.axis], inner = row_major_strides(value.type.shape)[t.axis];
    const int64_t rows = value.type.elements() / length, count = t.count;
    const uint32_t flip = op.boolean("ascending") ? 0 : 0xffffu;
    const bool is_narrow = results.size() == 2 && results[1]->type.dtype == DType::uint16;
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    const auto indices = results.size() == 2 ? std::optional(l.result(*results[1])) : std::nullopt;
    const Buffer scratch = l.scratch(l.workers() * length * static_cast<int64_t>(sizeof(uint64_t)));
    std::vector<Buffer> writes = {y, scratch};
    if (indices) writes.push_back(*indices);
    l.step({x}, writes, [=, numbers = l.profile().numbers](const Execution& e) {
        e.threads.parallel_for(rows, [&](int64_t row, int worker) {
            uint64_t* keys = e.at<uint64_t>(scratch) + worker * length;
            const half* from = e.at<half>(x) + row / inner * length * inner + row % inner;
            // The number first, then the index: of equals the first wins.
            for (int64_t i = 0; i < length; ++i)
                keys[i] = uint64_t{order(from[i * inner], numbers) ^ flip} << 32 | static_cast<uint64_t>(i);
            std::partial_sort(keys, keys + count, keys + length);
            const int64_t to = row / inner * count * inner + row % inner;
            for (int64_t i = 0; i < count; ++i) {
                const auto index = static_cast<uint32_t>(keys[i]);
                e.at<half>(y)[to + i * inner] = from[index * inner];
                if (!indices) continue;
                if (is_narrow)
                    e.at<uint16_t>(*indices)[to + i * inner] = static_cast<uint16_t>(index);
                else
                    e.at<uint32_t>(*indices)[to + i * inner] = index;
            }
        });
    });
}

}  // namespace

std::span<const LoweringEntry> movement_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"batch_to_space", lower_batch_to_space},
        {"concat", lower_concat},
        {"crop", lower_from_sources},
        {"depth_to_space", lower_block_shuffle},
        {"expand_dims", lower_view},
        {"flatten2d", lower_view},
        {"gather", lower_gather},
        {"gather_along_axis", lower_gather_along_axis},
        {"pad", lower_from_sources},
        {"pixel_shuffle", lower_block_shuffle},
        {"pixel_unshuffle", lower_block_shuffle},
        {"reshape", lower_view},
        {"reverse", lower_from_sources},
        {"slice_by_index", lower_slice_by_index},
        {"slice_by_size", lower_slice_by_size},
        {"space_to_batch", lower_space_to_batch},
        {"space_to_depth", lower_block_shuffle},
        {"split", lower_split},
        {"squeeze", lower_view},
        {"stack", lower_stack},
        {"tile", lower_from_sources},
        {"topk", lower_topk},
        {"transpose", lower_transpose},
    };
    return table;
}

}  // namespace ane::emulator
