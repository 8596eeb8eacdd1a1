// Weights that are stored compressed. All they read is constant, so the plan computes them once, at compile.
#include <algorithm>
#include <array>
#include <bit>

#include "../lowering.h"
#include "../strided.h"
#include "stretches.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

// Elements [first, first + n) of packed integers of up to 8 bits.
void unpack(DType dtype, const std::byte* data, int64_t first, int64_t n, uint8_t* to) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(data);
    switch (dtype) {
        case DType::uint1:
            for (int64_t i = first; i < first + n; ++i) *to++ = bytes[i / 8] >> (i % 8) & 1;
            break;
        case DType::uint4:
            for (int64_t i = first; i < first + n; ++i) *to++ = bytes[i / 2] >> (i % 2 * 4) & 15;
            break;
        default: std::copy_n(bytes + first, n, to);
    }
}

// The same, or fp16, as fp32; at most a tile.
void to_floats(const Kernels& k, DType dtype, const std::byte* data, int64_t first, int64_t n, float* to) {
    if (dtype == DType::fp16)
        return k.to_float(reinterpret_cast<const half*>(data) + first, to, static_cast<size_t>(n));
    uint8_t bytes[tile];
    unpack(dtype, data, first, n, bytes);
    if (dtype == DType::int8)
        std::transform(bytes, bytes + n, to, [](uint8_t byte) { return static_cast<int8_t>(byte); });
    else
        std::copy_n(bytes, n, to);
}

// Loops over the elements of `shape` and the elements of `blocks` that they belong to, side by side. Along
// the innermost loop elements follow one another, in one block or each in the next.
LoopNest<2> block_loops(const Shape& shape, const Shape& blocks) {
    const auto elements = row_major_strides(shape), block_strides = row_major_strides(blocks);
    Shape extents;
    std::array<std::vector<int64_t>, 2> strides;
    for (size_t i = 0; i < shape.size(); ++i) {
        const int64_t length = shape[i] / blocks[i];
        extents.insert(extents.end(), {blocks[i], length});
        strides[0].insert(strides[0].end(), {elements[i] * length, elements[i]});
        strides[1].insert(strides[1].end(), {block_strides[i], 0});
    }
    return {extents, strides};
}

void lower_lut(Lowering& l, const mil::OpView& op, Results results) {
    const TensorType &type = op.type("indices"), &lut_type = op.type("lut");
    const int64_t rank = type.rank(), entries = lut_type.shape[rank], vector = lut_type.shape[rank + 1];
    const Shape blocks(lut_type.shape.begin(), lut_type.shape.end() - 2);
    const int64_t axis = vector > 1 || op.has("vector_axis") ? op.axis("vector_axis", rank) : rank - 1;
    // Along the vector axis the elements of one index follow each other.
    const int64_t inner = row_major_strides(type.shape)[axis];
    const LoopNest<2> nest = block_loops(type.shape, blocks);
    const Buffer indices = l.buffer(op.value("indices")), lut = l.buffer(op.value("lut")),
                 y = l.result(*results[0]);
    l.step({indices, lut}, {y}, [=, dtype = type.dtype](const Execution& e) {
        const int64_t step = nest.inner().strides[1] * entries * vector;
        for_each_stretch(e, nest, [&](const std::array<int64_t, 2>& at, int64_t n) {
            uint8_t index[tile];
            unpack(dtype, e.at<std::byte>(indices), at[0], n, index);
            const half* table = e.at<half>(lut) + at[1] * entries * vector;
            half* to = e.at<half>(y);
            if (vector == 1)
                for (int64_t i = 0; i < n; ++i) to[at[0] + i] = table[i * step + index[i]];
            else
                for (int64_t i = 0; i < n; ++i)
                    for (int64_t v = 0; v < vector; ++v) {
                        const int64_t place = at[0] + i;
                        to[(place / inner * vector + v) * inner + place % inner] =
                            table[i * step + index[i] * vector + v];
                    }
        });
    });
}

// y[i] = the next of `data` for each one of the mask; how many there are.
template <typename T>
int64_t expand(const uint8_t* mask, int64_t count, const T* data, int64_t given, T* y) {
    int64_t next = 0;
    for (int64_t first = 0; first < count; first += 8) {
        const int64_t bits = std::min<int64_t>(8, count - first);
        for (unsigned ones = mask[first / 8] & ((1u << bits) - 1); ones != 0; ones &= ones - 1, ++next)
            if (next < given) y[first + std::countr_zero(ones)] = data[next];
    }
    return next;
}

void lower_sparse(Lowering& l, const mil::OpView& op, Results results) {
    const int64_t count = op.type("mask").elements(), given = op.type("nonzero_data").elements();
    const bool is_half = results[0]->type.dtype == DType::fp16;
    const Buffer mask = l.buffer(op.value("mask")), data = l.buffer(op.value("nonzero_data"));
    const Buffer y = l.result(*results[0]);
    l.step({mask, data}, {y}, [=, &op](const Execution& e) {
        const auto* ones = e.at<uint8_t>(mask);
        const int64_t found = is_half ? expand(ones, count, e.at<half>(data), given, e.at<half>(y))
                                      : expand(ones, count, e.at<uint8_t>(data), given, e.at<uint8_t>(y));
        if (found != given)
            op.fail("mask", "mask has " + std::to_string(found) + " ones, nonzero_data " +
                                std::to_string(given) + " elements");
    });
}

void lower_blockwise(Lowering& l, const mil::OpView& op, Results results) {
    const DType data_type = op.type("data").dtype;
    const LoopNest<2> nest = block_loops(op.type("data").shape, op.type("scale").shape);
    const bool has_offset = op.has("offset");
    const DType offset_type = has_offset ? op.type("offset").dtype : DType::fp16;
    const Rounding rounding = l.profile().elementwise;
    const Buffer data = l.buffer(op.value("data")), scale = l.buffer(op.value("scale"));
    const Buffer offset = has_offset ? l.buffer(op.value("offset")) : scale;
    const Buffer y = l.result(*results[0]);
    l.step({data, scale, offset}, {y}, [=](const Execution& e) {
        const Kernels& k = e.kernels;
        for_each_stretch(e, nest, [&](const std::array<int64_t, 2>& at, int64_t n) {
            alignas(64) float values[tile], parameters[tile];
            const int64_t blocks = nest.inner().strides[1] == 0 ? 1 : n;
            const auto apply = [&](Binary op, DType dtype, Buffer parameter) {
                to_floats(k, dtype, e.at<std::byte>(parameter), at[1], blocks, parameters);
                if (blocks == 1)
                    k.binary_scalar(op, values, parameters[0], values, static_cast<size_t>(n));
                else
                    k.binary(op, values, parameters, values, static_cast<size_t>(n));
            };
            to_floats(k, data_type, e.at<std::byte>(data), at[0], n, values);
            if (has_offset) apply(Binary::sub, offset_type, offset);
            apply(Binary::mul, DType::fp16, scale);
            k.to_half(values, e.at<half>(y) + at[0], static_cast<size_t>(n), rounding);
        });
    });
}

void lower_cast(Lowering& l, const mil::OpView& op, Results results) {
    const int64_t count = results[0]->type.elements();
    const Buffer x = l.buffer(op.value("source_val")), y = l.result(*results[0]);
    l.step({x}, {y}, [=](const Execution& e) { halves_to_floats(e, e.at<half>(x), e.at<float>(y), count); });
}

}  // namespace

std::span<const LoweringEntry> compression_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"constexpr_blockwise_shift_scale", lower_blockwise},
        {"constexpr_cast", lower_cast},
        {"constexpr_lut_to_dense", lower_lut},
        {"constexpr_sparse_to_dense", lower_sparse},
    };
    return table;
}

}  // namespace ane::emulator
