// Operations that move elements: reshape and its kin share memory, the others copy.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../../mil/ops/windows.h"
#include "../lowering.h"
#include "../strided.h"
#include "copy.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

// Copies elements along `loops`, whose operands are the source and the destination.
void copy(const Execution& e, const half* source, half* destination, const LoopNest<2>& loops) {
    const auto [extent, strides] = loops.inner();
    const int64_t rows_per_task = std::max<int64_t>(1, tile / extent), rows = loops.outer_count();
    e.threads.parallel_for(ceil_divide(rows, rows_per_task), [&](int64_t task, int) {
        const int64_t last = std::min(rows, (task + 1) * rows_per_task);
        for (int64_t row = task * rows_per_task; row < last; ++row) {
            const auto [at_source, at_destination] = loops.offsets(row);
            if (strides[0] == 1 && strides[1] == 1) {
                std::memcpy(destination + at_destination, source + at_source,
                            static_cast<size_t>(extent) * sizeof(half));
                continue;
            }
            for (int64_t i = 0; i < extent; ++i)
                destination[at_destination + i * strides[1]] = source[at_source + i * strides[0]];
        }
    });
}

void add_copy(Lowering& l, Buffer from, int64_t from_offset, Buffer to, const LoopNest<2>& loops) {
    l.step({from}, {to},
           [=](const Execution& e) { copy(e, e.at<half>(from) + from_offset, e.at<half>(to), loops); });
}

}  // namespace

void add_transpose(Lowering& l, Buffer x, const Shape& shape, const std::vector<int64_t>& permutation,
                   Buffer y) {
    const auto packed = row_major_strides(shape);
    Shape transposed;
    std::vector<int64_t> strides;
    for (const int64_t axis : permutation) {
        transposed.push_back(shape[axis]);
        strides.push_back(packed[axis]);
    }
    add_copy(l, x, 0, y, LoopNest<2>(transposed, {strides, row_major_strides(transposed)}));
}

namespace {

void lower_view(Lowering& l, const mil::OpView& op, Results results) { l.alias(*results[0], op.value("x")); }

void lower_transpose(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    auto perm = op.integers("perm");
    for (int64_t& axis : perm) axis += axis < 0 ? x.type.rank() : 0;
    add_transpose(l, l.buffer(x), x.type.shape, perm, l.result(*results[0]));
}

// What the older engines' fixed-point copy of a slice cannot hold.
void overflow_past(float limit, const Kernels& k, half* x, int64_t count) {
    alignas(64) float values[tile];
    for (int64_t begin = 0; begin < count; begin += tile) {
        const auto n = static_cast<size_t>(std::min(tile, count - begin));
        k.to_float(x + begin, values, n);
        k.to_half(values, x + begin, n, {.overflow = std::nextafter(limit, HUGE_VALF)});
    }
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
    l.step({from}, {to}, [=](const Execution& e) {
        copy(e, e.at<half>(from) + offset, e.at<half>(to), loops);
        overflow_past(limit, e.kernels, e.at<half>(to), count);
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
    l.step(reads, {y}, [=](const Execution& e) {
        for (const Part& part : parts)
            copy(e, e.at<half>(part.from), e.at<half>(y) + part.offset, part.loops);
    });
}

void lower_concat(Lowering& l, const mil::OpView& op, Results results) {
    const auto& values = op.tuple("values");
    const TensorType& type = results[0]->type;
    const int64_t axis = op.axis("axis", type.rank());
    const bool interleave = op.boolean("interleave", false);
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

// fp16 to an integer type: towards zero, clamped to its range.
template <typename T>
void to_integers(const float* x, std::byte* y, int64_t n) {
    constexpr auto low = static_cast<float>(std::numeric_limits<T>::min()),
                   high = static_cast<float>(std::numeric_limits<T>::max());
    for (int64_t i = 0; i < n; ++i)
        reinterpret_cast<T*>(y)[i] = std::isnan(x[i]) ? T{0} : static_cast<T>(std::clamp(x[i], low, high));
}

template <typename T>
void from_integers(const std::byte* x, float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(reinterpret_cast<const T*>(x)[i]);
}

void widen(const Kernels& k, DType dtype, const std::byte* x, float* y, int64_t n) {
    switch (dtype) {
        case DType::fp16: return k.to_float(reinterpret_cast<const half*>(x), y, static_cast<size_t>(n));
        case DType::fp32: std::memcpy(y, x, static_cast<size_t>(n) * sizeof(float)); return;
        case DType::int8: return from_integers<int8_t>(x, y, n);
        case DType::uint8:
        case DType::boolean: return from_integers<uint8_t>(x, y, n);
        case DType::int16: return from_integers<int16_t>(x, y, n);
        default: return from_integers<uint16_t>(x, y, n);
    }
}

void narrow(const Kernels& k, DType dtype, const float* x, std::byte* y, int64_t n, Rounding rounding) {
    switch (dtype) {
        case DType::fp16: return k.to_half(x, reinterpret_cast<half*>(y), static_cast<size_t>(n), rounding);
        case DType::fp32: std::memcpy(y, x, static_cast<size_t>(n) * sizeof(float)); return;
        case DType::int8: return to_integers<int8_t>(x, y, n);
        case DType::uint8: return to_integers<uint8_t>(x, y, n);
        case DType::int16: return to_integers<int16_t>(x, y, n);
        case DType::uint16: return to_integers<uint16_t>(x, y, n);
        default:
            for (int64_t i = 0; i < n; ++i) y[i] = std::byte{x[i] != 0.0f};
    }
}

void lower_cast(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& value = op.value("x");
    const DType from = value.type.dtype, to = results[0]->type.dtype;
    if ((from == DType::fp32 || to == DType::fp32) && !l.profile().casts_fp32)
        op.refuse("",
                  "the private framework's compiler is reported to refuse casts from and to fp32 on M1 and "
                  "M2 (" +
                      std::string(l.profile().name) + "): use fp16 ports and convert on the CPU");
    const Rounding rounding = l.profile().elementwise;
    const int64_t from_size = dtype_bits(from) / 8, to_size = dtype_bits(to) / 8;
    l.step({.count = value.type.elements(),
            .operands = {l.operand(value, value.type.shape)},
            .result = l.result_operand(*results[0]),
            .compute = [=](const Piece& p) {
                if (from == DType::fp32)
                    return narrow(p.kernels, to, p.array<float>(0), p.result, p.count, rounding);
                if (to == DType::fp32)
                    return widen(p.kernels, from, p.array<std::byte>(0), p.to<float>(), p.count);
                alignas(64) float values[tile];
                for (int64_t begin = 0; begin < p.count; begin += tile) {
                    const int64_t n = std::min(tile, p.count - begin);
                    widen(p.kernels, from, p.array<std::byte>(0) + begin * from_size, values, n);
                    narrow(p.kernels, to, values, p.result + begin * to_size, n, rounding);
                }
            }});
}

}  // namespace

std::span<const LoweringEntry> shape_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"cast", lower_cast},
        {"concat", lower_concat},
        {"expand_dims", lower_view},
        {"flatten2d", lower_view},
        {"reshape", lower_view},
        {"slice_by_index", lower_slice_by_index},
        {"slice_by_size", lower_slice_by_size},
        {"split", lower_split},
        {"squeeze", lower_view},
        {"stack", lower_stack},
        {"transpose", lower_transpose},
    };
    return table;
}

}  // namespace ane::emulator
