// int8: quantize, dequantize, constexpr_affine_dequantize.
#include "../op.h"

namespace ane::mil {

namespace {

constexpr DTypes half = dtypes(DType::fp16);
constexpr DTypes eight_bits = dtypes(DType::int8, DType::uint8);
constexpr DTypes integer = dtypes(DType::int32);

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

}  // namespace

std::span<const OpSpec> quantization_ops() {
    static const std::vector<OpSpec> table = {
        {"quantize",
         {{"input", Role::tensor, half},
          {"scale", Role::constant, half},
          {"zero_point", Role::constant, eight_bits, false},
          {"output_dtype", Role::constant, dtypes(DType::string)},
          {"axis", Role::constant, integer, false}},
         infer_quantize,
         17},
        {"dequantize",
         {{"input", Role::tensor, eight_bits},
          {"scale", Role::constant, half},
          {"zero_point", Role::constant, eight_bits, false},
          {"axis", Role::constant, integer, false}},
         infer_dequantize,
         17},
        {"constexpr_affine_dequantize",
         {{"quantized_data", Role::constant, eight_bits},
          {"zero_point", Role::constant, eight_bits},
          {"scale", Role::constant, half},
          {"axis", Role::constant, integer}},
         infer_constexpr_affine,
         16},
    };
    return table;
}

}  // namespace ane::mil
