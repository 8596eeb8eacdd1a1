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
                      affine(weight_op, weight.type), 0};
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
    o.most_terms = std::numeric_limits<int32_t>::max() / product;
    if (terms > o.most_terms && l.profile().numbers == cpu::Numbers::ieee) return {};
    return o;
}

}  // namespace ane::emulator
