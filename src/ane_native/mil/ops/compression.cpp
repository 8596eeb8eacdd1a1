// Weights that are stored compressed, as the opset ios18 spells them, or in fp16 for fp32.
#include "../op.h"

namespace ane::mil {

namespace {

constexpr DTypes half = dtypes(DType::fp16);
constexpr DTypes quantized = dtypes(DType::uint4, DType::int8, DType::uint8);

// Each axis of `blocks` divides that of `shape`.
bool divides(const Shape& blocks, const Shape& shape) {
    if (blocks.size() != shape.size()) return false;
    for (size_t i = 0; i < shape.size(); ++i)
        if (shape[i] % blocks[i] != 0) return false;
    return true;
}

std::vector<TensorType> infer_lut(const OpView& op) {
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
    return {{DType::fp16, shape}};
}

std::vector<TensorType> infer_sparse(const OpView& op) {
    if (op.type("nonzero_data").rank() != 1)
        op.fail("nonzero_data",
                "nonzero_data must have one axis, is " + to_string(op.type("nonzero_data").shape));
    return {{op.type("nonzero_data").dtype, op.type("mask").shape}};
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

std::vector<TensorType> infer_cast(const OpView& op) {
    if (op.text("output_dtype") != "fp32") op.fail("output_dtype", "output_dtype must be \"fp32\"");
    return {{DType::fp32, op.type("source_val").shape}};
}

}  // namespace

std::span<const OpSpec> compression_ops() {
    static const std::vector<OpSpec> table = {
        {"constexpr_lut_to_dense",
         {{"indices", Role::constant, dtypes(DType::uint1, DType::uint4, DType::uint8)},
          {"lut", Role::constant, half},
          {"vector_axis", Role::constant, dtypes(DType::int32), false}},
         infer_lut,
         18},
        {"constexpr_sparse_to_dense",
         {{"nonzero_data", Role::constant, dtypes(DType::fp16, DType::int8, DType::uint8)},
          {"mask", Role::constant, dtypes(DType::uint1)}},
         infer_sparse,
         18},
        {"constexpr_blockwise_shift_scale",
         {{"data", Role::constant, quantized},
          {"scale", Role::constant, half},
          {"offset", Role::constant, quantized | half, false}},
         infer_blockwise,
         18},
        {"constexpr_cast",
         {{"source_val", Role::constant, half}, {"output_dtype", Role::constant, dtypes(DType::string)}},
         infer_cast,
         16},
    };
    return table;
}

}  // namespace ane::mil
