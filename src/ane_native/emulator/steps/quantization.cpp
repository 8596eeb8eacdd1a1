// quantize, dequantize, constexpr_affine_dequantize: q = clamp(round(x / scale) + zero_point).
#include "quantization.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "transfer.h"

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

// Calls work(channel, begin, n) for stretches that share one scale.
template <typename Work>
void for_each_stretch(const Execution& e, const Affine& a, int64_t count, const Work& work) {
    const int64_t rows = count / a.inner, pieces = ceil_divide(a.inner, tile);  // tasks that share one row
    const int64_t rows_per_task = std::max<int64_t>(1, tile / a.inner);         // rows that share one task
    e.threads.parallel_for(ceil_divide(rows, rows_per_task) * pieces, [&](int64_t task, int) {
        const int64_t first = task / pieces * rows_per_task, last = std::min(rows, first + rows_per_task);
        const int64_t begin = task % pieces * tile, n = std::min(tile, a.inner - begin);
        for (int64_t row = first; row < last; ++row) work(row % a.channels, row * a.inner + begin, n);
    });
}

void lower_quantize(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& value = op.value("input");
    const bool is_signed = results[0]->type.dtype == DType::int8;
    const int64_t count = value.type.elements();
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    l.step({x}, {y}, [=, a = affine(op, value.type)](const Execution& e) {
        for_each_stretch(e, a, count, [&](int64_t channel, int64_t begin, int64_t n) {
            alignas(64) float values[tile];
            e.kernels.to_float(e.at<half>(x) + begin, values, static_cast<size_t>(n));
            e.kernels.quantize(values, a.scale_at(channel), a.zero_point_at(channel), is_signed,
                               e.at<uint8_t>(y) + begin, static_cast<size_t>(n));
        });
    });
}

void add_dequantize(Lowering& l, const mil::OpView& op, const mil::Value& value, Results results) {
    const bool is_signed = value.type.dtype == DType::int8;
    const int64_t count = value.type.elements();
    const Rounding rounding = l.profile().elementwise;
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    l.step({x}, {y}, [=, a = affine(op, value.type)](const Execution& e) {
        for_each_stretch(e, a, count, [&](int64_t channel, int64_t begin, int64_t n) {
            alignas(64) float values[tile];
            const uint8_t* quantized = e.at<uint8_t>(x) + begin;
            const float zero_point = a.zero_point_at(channel), scale = a.scale_at(channel);
            for (int64_t i = 0; i < n; ++i) {
                const int q = is_signed ? static_cast<int8_t>(quantized[i]) : quantized[i];
                values[i] = (static_cast<float>(q) - zero_point) * scale;
            }
            e.kernels.to_half(values, e.at<half>(y) + begin, static_cast<size_t>(n), rounding);
        });
    });
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
