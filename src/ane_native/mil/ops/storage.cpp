// Element types and compressed weights: casts, quantization, constexpr operations.
#include <algorithm>
#include <bit>

#include "table.h"

namespace ane::mil {

namespace {

constexpr DTypes eight_bits = dtypes(DType::int8, DType::uint8);
constexpr DTypes quantized = dtypes(DType::int4, DType::uint4, DType::int8, DType::uint8);
constexpr DTypes index =
    dtypes(DType::uint1, DType::uint2, DType::uint3, DType::uint4, DType::uint6, DType::uint8);

constexpr DTypes extents = dtypes(DType::uint32);

// Each axis of `blocks` divides that of `shape`.
bool divides(const Shape& blocks, const Shape& shape) {
    if (blocks.size() != shape.size()) return false;
    for (size_t i = 0; i < shape.size(); ++i)
        if (shape[i] % blocks[i] != 0) return false;
    return true;
}

// The form before ios18: `packed`, a vector of bytes, holds elements of `bits` for the argument `shape`.
TensorType infer_packed(const OpView& op, std::string_view packed, int bits, DType dtype) {
    TensorType result{dtype, op.integers("shape")};
    if (result.rank() > 5 || std::ranges::any_of(result.shape, [](int64_t extent) { return extent < 1; }))
        op.fail("shape", "shape must have at most 5 axes of at least 1, is " + to_string(result.shape));
    constexpr int64_t most_bytes = int64_t{1} << 40;
    if (result.bytes() > most_bytes) op.fail("shape", to_string(result) + " is larger than 2^40 bytes");
    const TensorType expected{DType::uint8, {(result.elements() * bits + 7) / 8}};
    if (op.type(packed) != expected)
        op.fail(packed, "'" + std::string(packed) + "' is " + to_string(op.type(packed)) + ", but " +
                            to_string(result.shape) + " of " + std::to_string(bits) +
                            (bits == 1 ? " bit takes " : " bits take ") + to_string(expected));
    return result;
}

std::vector<TensorType> infer_packed_lut(const OpView& op) {
    const TensorType& lut = op.type("lut");
    const int64_t entries = lut.rank() == 1 ? lut.shape[0] : 0;
    if (entries != 2 && entries != 4 && entries != 16 && entries != 64 && entries != 256)
        op.fail("lut", "with a shape, lut must be a vector of 2, 4, 16, 64 or 256 entries, is " +
                           to_string(lut.shape));
    if (op.has("vector_axis")) op.fail("vector_axis", "a lookup table with a shape has no vector_axis");
    return {infer_packed(op, "indices", std::countr_zero(static_cast<uint64_t>(entries)), lut.dtype)};
}

std::vector<TensorType> infer_lut(const OpView& op) {
    if (op.has("shape")) return infer_packed_lut(op);
    op.need_opset(18);
    const TensorType &indices = op.type("indices"), &lut = op.type("lut");
    const int64_t rank = indices.rank(), entries = int64_t{1} << dtype_bits(indices.dtype);
    if (lut.rank() != rank + 2)
        op.fail("lut", "lut must have two axes more than indices, is " + to_string(lut.shape));
    const Shape blocks(lut.shape.begin(), lut.shape.end() - 2);
    if (!divides(blocks, indices.shape))
        op.fail("lut",
                "the tables " + to_string(blocks) + " do not divide the indices " + to_string(indices.shape));
    if (lut.shape[rank] != entries)
        op.fail("lut", "a table of " + std::string(dtype_name(indices.dtype)) + " has " +
                           std::to_string(entries) + " entries, this one " + std::to_string(lut.shape[rank]));
    Shape shape = indices.shape;
    if (lut.shape[rank + 1] > 1 || op.has("vector_axis"))
        shape[op.axis("vector_axis", rank)] *= lut.shape[rank + 1];
    return {{lut.dtype, shape}};
}

std::vector<TensorType> infer_sparse(const OpView& op) {
    if (op.type("nonzero_data").rank() != 1)
        op.fail("nonzero_data",
                "nonzero_data must have one axis, is " + to_string(op.type("nonzero_data").shape));
    const DType dtype = op.type("nonzero_data").dtype;
    if (op.has("shape")) return {infer_packed(op, "mask", 1, dtype)};
    op.need_opset(18);
    if (op.type("mask").dtype != DType::uint1) op.fail("mask", "without a shape, mask must be uint1");
    return {{dtype, op.type("mask").shape}};
}

std::vector<TensorType> infer_blockwise(const OpView& op) {
    const TensorType &data = op.type("data"), &scale = op.type("scale");
    if (!divides(scale.shape, data.shape))
        op.fail("scale",
                "scale " + to_string(scale.shape) + " does not divide data " + to_string(data.shape));
    if (op.has("offset")) {
        const TensorType& offset = op.type("offset");
        if (offset.shape != scale.shape)
            op.fail("offset", "offset must be " + to_string(scale.shape) + " like scale, is " +
                                  to_string(offset.shape));
        if (offset.dtype != data.dtype && offset.dtype != DType::fp16)
            op.fail("offset", "offset must be fp16 or " + std::string(dtype_name(data.dtype)) + " like data");
    }
    return {{DType::fp16, data.shape}};
}

std::vector<TensorType> infer_constexpr_cast(const OpView& op) {
    if (op.text("output_dtype") != "fp32") op.fail("output_dtype", "output_dtype must be \"fp32\"");
    return {{DType::fp32, op.type("source_val").shape}};
}

// A scalar, or one element for each index of `axis`.
void check_per_channel(const OpView& op, std::string_view argument, const TensorType& x) {
    if (!op.has(argument)) return;
    const TensorType& type = op.type(argument);
    if (type.rank() == 0) return;
    if (!op.has("axis")) op.fail(argument, "'" + std::string(argument) + "' is a vector: name its axis");
    const Shape expected = {x.shape[op.axis("axis", x.rank())]};
    if (type.shape != expected)
        op.fail(argument, "'" + std::string(argument) + "' must be a scalar or " + to_string(expected) +
                              ", is " + to_string(type.shape));
}

// A scale in a weight file is checked when the file is read.
void check_scale(const OpView& op, const TensorType& x) {
    // It gives the type of the result.
    if (op.type("scale").dtype != DType::fp16) op.fail("scale", "'scale' is fp32, must be fp16");
    check_per_channel(op, "scale", x);
    if (op.value("scale").constant->blob) return;
    for (const float scale : op.numbers("scale"))
        if (!(scale > 0)) op.fail("scale", "'scale' must be positive");
}

void check_zero_point(const OpView& op, DType quantized) {
    if (op.has("zero_point") && op.type("zero_point").dtype != quantized)
        op.fail("zero_point",
                "'zero_point' must be " + std::string(dtype_name(quantized)) + " like the quantized data");
}

std::vector<TensorType> infer_quantize(const OpView& op) {
    const TensorType& x = op.type("input");
    const std::string name = op.text("output_dtype");
    if (name != "int8" && name != "uint8")
        op.fail("output_dtype", "output_dtype must be \"int8\" or \"uint8\"");
    const DType dtype = *dtype_from_name(name);
    check_zero_point(op, dtype);
    check_scale(op, x);
    check_per_channel(op, "zero_point", x);
    return {{dtype, x.shape}};
}

std::vector<TensorType> infer_dequantize(const OpView& op) {
    const TensorType& x = op.type("input");
    check_zero_point(op, x.dtype);
    check_scale(op, x);
    check_per_channel(op, "zero_point", x);
    return {{DType::fp16, x.shape}};
}

std::vector<TensorType> infer_constexpr_affine(const OpView& op) {
    const TensorType& data = op.type("quantized_data");
    check_zero_point(op, data.dtype);
    check_scale(op, data);
    check_per_channel(op, "zero_point", data);
    return {{DType::fp16, data.shape}};
}

std::vector<TensorType> infer_cast(const OpView& op) {
    const std::string name = op.text("dtype");
    const auto dtype = dtype_from_name(name);
    if (!dtype || *dtype == DType::string) op.fail("dtype", "there is no dtype \"" + name + "\"");
    constexpr DTypes reachable = dtypes(DType::fp16, DType::fp32, DType::int8, DType::uint8, DType::int16,
                                        DType::uint16, DType::boolean);
    if (!(reachable >> static_cast<unsigned>(*dtype) & 1))
        op.refuse("dtype", "the engine does not cast to " + name);
    const DType from = op.type("x").dtype;
    if (from != DType::fp16 && *dtype != DType::fp16)
        op.refuse("dtype", "the engine does not cast " + std::string(dtype_name(from)) + " to " + name +
                               ": go through fp16");
    return {{*dtype, op.type("x").shape}};
}

}  // namespace

std::span<const OpSpec> storage_ops() {
    static const auto& table = *new std::vector<OpSpec>{
        {"constexpr_lut_to_dense",
         {{"indices", constant, index},
          {"lut", constant, half},
          {"vector_axis", constant, integer, optional},
          {"shape", constant, extents, optional}},
         infer_lut,
         16},
        {"constexpr_sparse_to_dense",
         {{"nonzero_data", constant, dtypes(DType::fp16, DType::int8, DType::uint8)},
          {"mask", constant, dtypes(DType::uint1, DType::uint8)},
          {"shape", constant, extents, optional}},
         infer_sparse,
         16},
        {"constexpr_blockwise_shift_scale",
         {{"data", constant, quantized},
          {"scale", constant, half},
          {"offset", constant, quantized | half, optional}},
         infer_blockwise,
         18},
        {"constexpr_cast",
         {{"source_val", constant, half}, {"output_dtype", constant, text}},
         infer_constexpr_cast,
         16},
        {"quantize",
         {{"input", tensor, half},
          {"scale", constant, half},
          {"zero_point", constant, eight_bits, optional},
          {"output_dtype", constant, text, required, "int8"},
          {"axis", constant, integer, optional}},
         infer_quantize,
         17},
        {"dequantize",
         {{"input", tensor, eight_bits},
          {"scale", constant, half},
          {"zero_point", constant, eight_bits, optional},
          {"axis", constant, integer, optional}},
         infer_dequantize,
         17},
        {"constexpr_affine_dequantize",
         {{"quantized_data", constant, eight_bits},
          {"zero_point", constant, eight_bits, required, 0},
          {"scale", constant, half},
          {"axis", constant, integer, required, 0}},
         infer_constexpr_affine,
         16},
        {"cast",
         {{"x", tensor,
           dtypes(DType::fp16, DType::fp32, DType::int8, DType::uint8, DType::int16, DType::uint16,
                  DType::boolean)},
          {"dtype", constant, text}},
         infer_cast},
    };
    return table;
}

}  // namespace ane::mil
