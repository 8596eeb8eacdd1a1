// Weights that are stored compressed. All they read is constant, so the plan computes them once, at compile.
#include <algorithm>

#include "../lowering.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

// Element `i` of a packed constant of integers or fp16.
float element(const Kernels& k, DType dtype, const std::byte* data, int64_t i) {
    const auto byte = [&](int64_t at) { return std::to_integer<int>(data[at]); };
    switch (dtype) {
        case DType::uint1: return static_cast<float>(byte(i / 8) >> (i % 8) & 1);
        case DType::uint4: return static_cast<float>(byte(i / 2) >> (i % 2 * 4) & 15);
        case DType::uint8: return static_cast<float>(byte(i));
        case DType::int8: return static_cast<float>(static_cast<int8_t>(byte(i)));
        default: break;
    }
    float value;
    k.to_float(reinterpret_cast<const half*>(data) + i, &value, 1);
    return value;
}

// Which element of `blocks` belongs to element `index` of `shape`.
int64_t block_index(const Shape& shape, const Shape& blocks, int64_t index) {
    int64_t result = 0, stride = 1;
    for (size_t i = shape.size(); i-- > 0;) {
        const int64_t position = index % shape[i];
        index /= shape[i];
        result += position / (shape[i] / blocks[i]) * stride;
        stride *= blocks[i];
    }
    return result;
}

void lower_lut(Lowering& l, const mil::OpView& op, Results results) {
    const TensorType &type = op.type("indices"), &lut_type = op.type("lut");
    const int64_t rank = type.rank(), entries = lut_type.shape[rank], vector = lut_type.shape[rank + 1];
    const Shape blocks(lut_type.shape.begin(), lut_type.shape.end() - 2);
    const int64_t axis = vector > 1 || op.has("vector_axis") ? op.axis("vector_axis", rank) : rank - 1;
    // Along the vector axis the elements of one index follow each other.
    const int64_t inner = row_major_strides(type.shape)[axis];
    const Buffer indices = l.buffer(op.value("indices")), lut = l.buffer(op.value("lut")),
                 y = l.result(*results[0]);
    l.step({indices, lut}, {y}, [=](const Execution& e) {
        for (int64_t i = 0; i < type.elements(); ++i) {
            const auto entry =
                static_cast<int64_t>(element(e.kernels, type.dtype, e.at<std::byte>(indices), i));
            const half* found =
                e.at<half>(lut) + (block_index(type.shape, blocks, i) * entries + entry) * vector;
            for (int64_t v = 0; v < vector; ++v)
                e.at<half>(y)[(i / inner * vector + v) * inner + i % inner] = found[v];
        }
    });
}

void lower_sparse(Lowering& l, const mil::OpView& op, Results results) {
    const int64_t count = op.type("mask").elements(), given = op.type("nonzero_data").elements();
    const size_t size = static_cast<size_t>(dtype_bits(results[0]->type.dtype) / 8);
    const Buffer mask = l.buffer(op.value("mask")), data = l.buffer(op.value("nonzero_data"));
    const Buffer y = l.result(*results[0]);
    l.step({mask, data}, {y}, [=, &op](const Execution& e) {
        int64_t next = 0;
        for (int64_t i = 0; i < count; ++i) {
            if (element(e.kernels, DType::uint1, e.at<std::byte>(mask), i) == 0) continue;
            if (next < given)
                std::copy_n(e.at<std::byte>(data) + static_cast<size_t>(next) * size, size,
                            e.at<std::byte>(y) + static_cast<size_t>(i) * size);
            ++next;
        }
        if (next != given)
            op.fail("mask", "mask has " + std::to_string(next) + " ones, nonzero_data " +
                                std::to_string(given) + " elements");
    });
}

void lower_blockwise(Lowering& l, const mil::OpView& op, Results results) {
    const TensorType data_type = op.type("data");
    const Shape blocks = op.type("scale").shape;
    const Rounding rounding = l.profile().elementwise;
    const bool has_offset = op.has("offset");
    const DType offset_type = has_offset ? op.type("offset").dtype : DType::fp16;
    const Buffer data = l.buffer(op.value("data")), scale = l.buffer(op.value("scale"));
    const Buffer offset = has_offset ? l.buffer(op.value("offset")) : scale;
    const Buffer y = l.result(*results[0]);
    l.step({data, scale, offset}, {y}, [=](const Execution& e) {
        for (int64_t i = 0; i < data_type.elements(); ++i) {
            const int64_t block = block_index(data_type.shape, blocks, i);
            float value = element(e.kernels, data_type.dtype, e.at<std::byte>(data), i);
            if (has_offset) value -= element(e.kernels, offset_type, e.at<std::byte>(offset), block);
            value *= element(e.kernels, DType::fp16, e.at<std::byte>(scale), block);
            e.kernels.to_half(&value, e.at<half>(y) + i, 1, rounding);
        }
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
