// Affine int8: q = clamp(round(x / scale) + zero_point), x = (q - zero_point) * scale.
#include <algorithm>
#include <cstring>

#include "../lowering.h"

namespace ane::emulator {

namespace {

// An argument of one number, or of one for each index of the axis, for work over `shape`.
Operand parameter(Lowering& l, const mil::OpView& op, const std::vector<float>& numbers, const Shape& shape) {
    std::vector<int64_t> strides(shape.size(), 0);
    if (numbers.size() > 1) strides[op.axis("axis", static_cast<int64_t>(shape.size()))] = 1;
    return {l.constant(numbers), sizeof(float), {shape, strides}};
}

// x, scale and zero_point.
std::vector<Operand> affine_operands(Lowering& l, const mil::OpView& op, const mil::Value& x) {
    const std::vector<float> scale = op.numbers("scale"),
                             zero_point = op.has("zero_point") ? op.numbers("zero_point") : std::vector{0.0f};
    if (std::ranges::any_of(scale, [](float s) { return !(s > 0); }))
        op.fail("scale", "'scale' must be positive");
    const Shape& shape = x.type.shape;
    return {l.operand(x, shape), parameter(l, op, scale, shape), parameter(l, op, zero_point, shape)};
}

void lower_quantize(Lowering& l, const mil::OpView& op, Results results) {
    const bool is_signed = results[0]->type.dtype == DType::int8;
    l.step({.count = results[0]->type.elements(),
            .operands = affine_operands(l, op, op.value("input")),
            .result = l.result_operand(*results[0]),
            .compute = [=](const Piece& p) {
                p.kernels.quantize(p.array<half>(0), p.operand<float>(1), p.operand<float>(2), is_signed,
                                   p.to<uint8_t>(), p.size());
            }});
}

void add_dequantize(Lowering& l, const mil::OpView& op, const mil::Value& value, Results results) {
    const bool is_signed = value.type.dtype == DType::int8;
    const bool nan_is_zero = l.profile().elementwise.nan_is_zero;
    l.step({.count = value.type.elements(),
            .operands = affine_operands(l, op, value),
            .result = l.result_operand(*results[0]),
            .compute = [=](const Piece& p) {
                p.kernels.dequantize(p.array<uint8_t>(0), p.operand<float>(1), p.operand<float>(2), is_signed,
                                     p.to<half>(), p.size(), nan_is_zero);
            }});
}

void lower_dequantize(Lowering& l, const mil::OpView& op, Results results) {
    add_dequantize(l, op, op.value("input"), results);
}

// A constant, so the plan folds it: the weight exists as fp16 before the first evaluation.
void lower_constexpr_affine(Lowering& l, const mil::OpView& op, Results results) {
    add_dequantize(l, op, op.value("quantized_data"), results);
}

}  // namespace

std::span<const LoweringEntry> quantization_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"constexpr_affine_dequantize", lower_constexpr_affine},
        {"dequantize", lower_dequantize},
        {"quantize", lower_quantize},
    };
    return table;
}

}  // namespace ane::emulator
