// quantize, dequantize, constexpr_affine_dequantize: q = clamp(round(x / scale) + zero_point).
#include "quantization.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ane::emulator {

Affine affine(const mil::OpView& op, const TensorType& type) {
    Affine a;
    a.scale = op.numbers("scale");
    a.zero_point = op.has("zero_point") ? op.numbers("zero_point") : std::vector<float>{0.0f};
    if (std::ranges::any_of(a.scale, [](float s) { return !(s > 0); }))
        op.fail("scale", "'scale' must be positive");
    a.inner = type.elements();
    if (a.scale.size() > 1 || a.zero_point.size() > 1) {
        a.axis = op.axis("axis", type.rank());
        a.channels = type.shape[a.axis];
        a.inner = row_major_strides(type.shape)[a.axis];
    }
    return a;
}

std::optional<IntegerOperands> integer_operands(const Lowering& l, const mil::Value& x,
                                                const mil::Value& weight, int64_t output_axis,
                                                int64_t terms) {
    if (!l.profile().multiplies_integers) return {};
    const mil::Operation *x_from = l.producer(x), *weight_from = l.producer(weight);
    if (!x_from || x_from->op != "dequantize" || !weight_from ||
        weight_from->op != "constexpr_affine_dequantize")
        return {};
    const mil::OpView x_op = l.view(*x_from), weight_op = l.view(*weight_from);
    IntegerOperands o{&x_op.value("input"), &weight_op.value("quantized_data"), affine(x_op, x.type),
                      affine(weight_op, weight.type)};
    const auto is_finite = [](float scale) { return std::isfinite(scale); };
    if (!o.x_affine.is_uniform() || (!o.weight_affine.is_uniform() && o.weight_affine.axis != output_axis) ||
        !is_finite(o.x_affine.scale[0]) || !std::ranges::all_of(o.weight_affine.scale, is_finite))
        return {};
    // The largest magnitude of an operand less its zero point.
    const auto largest = [](const mil::Value& quantized, const std::vector<float>& zero_points) {
        const float low = quantized.type.dtype == DType::int8 ? -128.0f : 0.0f;
        const auto [least, most] = std::ranges::minmax(zero_points);
        return static_cast<int64_t>(std::max(most - low, low + 255.0f - least));
    };
    const int64_t product =
        largest(*o.x, o.x_affine.zero_point) * largest(*o.weight, o.weight_affine.zero_point);
    if (terms > std::numeric_limits<int32_t>::max() / product) return {};
    return o;
}

namespace {

// An argument of one number, or of one for each index of the axis, for work over `shape`.
Operand parameter(Lowering& l, const std::vector<float>& numbers, int64_t axis, const Shape& shape) {
    std::vector<int64_t> strides(shape.size(), 0);
    if (numbers.size() > 1) strides[static_cast<size_t>(axis)] = 1;
    return {l.constant(numbers), sizeof(float), {shape, strides}};
}

// x, scale and zero_point.
std::vector<Operand> affine_operands(Lowering& l, const mil::OpView& op, const mil::Value& x) {
    const Affine a = affine(op, x.type);
    const Shape& shape = x.type.shape;
    return {l.operand(x, shape), parameter(l, a.scale, a.axis, shape),
            parameter(l, a.zero_point, a.axis, shape)};
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
