// Affine int8: q = clamp(round(x / scale) + zero_point), x = (q - zero_point) * scale.
#include <algorithm>

#include "../lowering.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

// A scale and a zero point for each index of an axis, or one of each for all.
struct Affine {
    int64_t channels = 1, inner = 1;  // the tensor as [outer, channels, inner]
    std::vector<float> scale, zero_point;

    float scale_at(int64_t channel) const { return scale[scale.size() == 1 ? 0 : channel]; }
    float zero_point_at(int64_t channel) const { return zero_point[zero_point.size() == 1 ? 0 : channel]; }
};

Affine affine(const mil::OpView& op, const TensorType& type) {
    Affine a;
    a.scale = op.numbers("scale");
    a.zero_point = op.has("zero_point") ? op.numbers("zero_point") : std::vector<float>{0.0f};
    if (std::ranges::any_of(a.scale, [](float s) { return !(s > 0); }))
        op.fail("scale", "'scale' must be positive");
    a.inner = type.elements();
    if (a.scale.size() > 1 || a.zero_point.size() > 1) {
        const int64_t axis = op.axis("axis", type.rank());
        a.channels = type.shape[axis];
        a.inner = row_major_strides(type.shape)[axis];
    }
    return a;
}

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
