// Activations, and arithmetic with broadcasting: fp16 in, fp32 math, one rounding to fp16.
#include <algorithm>

#include "../lowering.h"
#include "../strided.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

void add_unary(Lowering& l, const mil::OpView& op, Results results, Unary kind, float epsilon = 0) {
    const mil::Value& value = op.value("x");
    const int64_t count = value.type.elements();
    const Rounding rounding = l.profile().elementwise;
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    l.step({x}, {y}, [=](const Execution& e) {
        e.threads.parallel_for(ceil_divide(count, tile), [&](int64_t task, int) {
            alignas(64) float values[tile];
            const int64_t begin = task * tile;
            const auto n = static_cast<size_t>(std::min(tile, count - begin));
            e.kernels.to_float(e.at<half>(x) + begin, values, n);
            e.kernels.unary(kind, values, epsilon, values, n);
            e.kernels.to_half(values, e.at<half>(y) + begin, n, rounding);
        });
    });
}

template <Unary kind>
void lower_unary(Lowering& l, const mil::OpView& op, Results results) {
    add_unary(l, op, results, kind);
}

template <Unary kind>
void lower_with_epsilon(Lowering& l, const mil::OpView& op, Results results) {
    add_unary(l, op, results, kind, op.number("epsilon"));
}

void lower_gelu(Lowering& l, const mil::OpView& op, Results results) {
    const std::string mode = op.text("mode", "EXACT");
    add_unary(l, op, results,
              mode == "EXACT"                ? Unary::gelu_exact
              : mode == "TANH_APPROXIMATION" ? Unary::gelu_tanh
                                             : Unary::gelu_sigmoid);
}

// One stretch of the innermost loop, where each operand either advances or repeats one element.
void apply_binary(const Kernels& k, Binary kind, const half* x, bool x_repeats, const half* y, bool y_repeats,
                  half* z, size_t n, Rounding rounding) {
    alignas(64) float a[tile], b[tile];
    k.to_float(x, a, x_repeats ? 1 : n);
    k.to_float(y, b, y_repeats ? 1 : n);
    if (x_repeats && y_repeats) {
        k.binary(kind, a, b, a, 1);
        std::fill_n(a + 1, n - 1, a[0]);
    } else if (x_repeats) {
        k.scalar_binary(kind, a[0], b, a, n);
    } else if (y_repeats) {
        k.binary_scalar(kind, a, b[0], a, n);
    } else {
        k.binary(kind, a, b, a, n);
    }
    k.to_half(a, z, n, rounding);
}

template <Binary kind>
void lower_binary(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value &x_value = op.value("x"), &y_value = op.value("y");
    const Shape& shape = results[0]->type.shape;
    const LoopNest<3> nest(shape, {broadcast_strides(x_value.type.shape, shape),
                                   broadcast_strides(y_value.type.shape, shape), row_major_strides(shape)});
    const int64_t rows = nest.outer_count(), length = nest.inner().extent;
    const int64_t pieces = ceil_divide(length, tile);                   // tasks that share one row
    const int64_t rows_per_task = std::max<int64_t>(1, tile / length);  // rows that share one task
    const Rounding rounding = l.profile().elementwise;
    const Buffer x = l.buffer(x_value), y = l.buffer(y_value), z = l.result(*results[0]);
    l.step({x, y}, {z}, [=](const Execution& e) {
        const auto strides = nest.inner().strides;
        e.threads.parallel_for(ceil_divide(rows, rows_per_task) * pieces, [&](int64_t task, int) {
            const int64_t first_row = task / pieces * rows_per_task, begin = task % pieces * tile;
            const int64_t last_row = std::min(rows, first_row + rows_per_task);
            const auto n = static_cast<size_t>(std::min(tile, length - begin));
            for (int64_t row = first_row; row < last_row; ++row) {
                const auto [at_x, at_y, at_z] = nest.offsets(row);
                apply_binary(e.kernels, kind, e.at<half>(x) + at_x + begin * strides[0], strides[0] == 0,
                             e.at<half>(y) + at_y + begin * strides[1], strides[1] == 0,
                             e.at<half>(z) + at_z + begin, n, rounding);
            }
        });
    });
}

}  // namespace

std::span<const LoweringEntry> elementwise_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"abs", lower_unary<Unary::abs>},           {"add", lower_binary<Binary::add>},
        {"exp", lower_unary<Unary::exp>},           {"gelu", lower_gelu},
        {"log", lower_with_epsilon<Unary::log>},    {"maximum", lower_binary<Binary::maximum>},
        {"minimum", lower_binary<Binary::minimum>}, {"mul", lower_binary<Binary::mul>},
        {"pow", lower_binary<Binary::pow>},         {"real_div", lower_binary<Binary::real_div>},
        {"relu", lower_unary<Unary::relu>},         {"rsqrt", lower_with_epsilon<Unary::rsqrt>},
        {"sigmoid", lower_unary<Unary::sigmoid>},   {"silu", lower_unary<Unary::silu>},
        {"sqrt", lower_unary<Unary::sqrt>},         {"square", lower_unary<Unary::square>},
        {"sub", lower_binary<Binary::sub>},         {"tanh", lower_unary<Unary::tanh>},
    };
    return table;
}

}  // namespace ane::emulator
