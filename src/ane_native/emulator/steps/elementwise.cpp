// Activations, and arithmetic with broadcasting: fp16 in, fp32 math, one rounding to fp16.
#include <algorithm>
#include <array>

#include "../lowering.h"
#include "../strided.h"
#include "stretches.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

void add_unary(Lowering& l, const mil::OpView& op, Results results, Unary kind, Parameters parameters) {
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
            e.kernels.unary(kind, values, parameters, values, n);
            e.kernels.to_half(values, e.at<half>(y) + begin, n, rounding);
        });
    });
}

template <Unary kind>
void lower_unary(Lowering& l, const mil::OpView& op, Results results) {
    add_unary(l, op, results, kind,
              {op.number(op.has("epsilon") ? "epsilon" : "alpha", 0.0f), op.number("beta", 0.0f)});
}

template <Unary kind>
void lower_sine(Lowering& l, const mil::OpView& op, Results results) {
    if (!l.profile().has_sine)
        op.refuse("", std::string(l.profile().name) + " has no sin and cos, which came with h15 (M3)");
    add_unary(l, op, results, kind, {});
}

void lower_gelu(Lowering& l, const mil::OpView& op, Results results) {
    const std::string mode = op.text("mode", "EXACT");
    add_unary(l, op, results,
              mode == "EXACT"                ? Unary::gelu_exact
              : mode == "TANH_APPROXIMATION" ? Unary::gelu_tanh
                                             : Unary::gelu_sigmoid,
              {});
}

void lower_relu6(Lowering& l, const mil::OpView& op, Results results) {
    add_unary(l, op, results, Unary::clip, {0.0f, 6.0f});
}

void lower_round(Lowering& l, const mil::OpView& op, Results results) {
    const bool adding = l.profile().rounds_by_adding_half;
    add_unary(l, op, results, adding ? Unary::round_by_adding_half : Unary::round_half_even, {});
}

void lower_softplus(Lowering& l, const mil::OpView& op, Results results) {
    add_unary(l, op, results, Unary::softplus, {l.profile().softplus_limit});
}

// One stretch of the innermost loop, where each operand either advances or repeats one element.
void apply_binary(const Kernels& k, Binary kind, const half* x, bool x_repeats, const half* y, bool y_repeats,
                  float* z, size_t n) {
    alignas(64) float b[tile];
    k.to_float(x, z, x_repeats ? 1 : n);
    k.to_float(y, b, y_repeats ? 1 : n);
    if (x_repeats && y_repeats) {
        k.binary(kind, z, b, z, 1);
        std::fill_n(z + 1, n - 1, z[0]);
    } else if (x_repeats) {
        k.scalar_binary(kind, z[0], b, z, n);
    } else if (y_repeats) {
        k.binary_scalar(kind, z, b[0], z, n);
    } else {
        k.binary(kind, z, b, z, n);
    }
}

// z = x op y, in fp16 or as truth values; `y_shape` broadcasts to the shape of z.
void add_binary(Lowering& l, Binary kind, const mil::Value& x_value, const mil::Value& y_value,
                const Shape& y_shape, const mil::Value& result) {
    const Shape& shape = result.type.shape;
    const LoopNest<3> nest(shape, {broadcast_strides(x_value.type.shape, shape),
                                   broadcast_strides(y_shape, shape), row_major_strides(shape)});
    const bool is_truth = result.type.dtype == DType::boolean;
    const Rounding rounding = l.profile().elementwise;
    const Buffer x = l.buffer(x_value), y = l.buffer(y_value), z = l.result(result);
    l.step({x, y}, {z}, [=](const Execution& e) {
        const auto strides = nest.inner().strides;
        for_each_stretch(e, nest, [&](const std::array<int64_t, 3>& at, int64_t n) {
            alignas(64) float values[tile];
            apply_binary(e.kernels, kind, e.at<half>(x) + at[0], strides[0] == 0, e.at<half>(y) + at[1],
                         strides[1] == 0, values, static_cast<size_t>(n));
            if (is_truth)
                std::transform(values, values + n, e.at<uint8_t>(z) + at[2],
                               [](float value) { return static_cast<uint8_t>(value != 0.0f); });
            else
                e.kernels.to_half(values, e.at<half>(z) + at[2], static_cast<size_t>(n), rounding);
        });
    });
}

template <Binary kind>
void lower_binary(Lowering& l, const mil::OpView& op, Results results) {
    add_binary(l, kind, op.value("x"), op.value("y"), op.type("y").shape, *results[0]);
}

// One slope for each channel, which is axis 1.
void lower_prelu(Lowering& l, const mil::OpView& op, Results results) {
    Shape slopes(static_cast<size_t>(op.type("x").rank()) - 1, 1);
    slopes[0] = op.type("x").shape[1];
    add_binary(l, Binary::prelu, op.value("x"), op.value("alpha"), slopes, *results[0]);
}

void lower_logical_not(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& value = op.value("x");
    const int64_t count = value.type.elements();
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    l.step({x}, {y}, [=](const Execution& e) {
        std::transform(e.at<uint8_t>(x), e.at<uint8_t>(x) + count, e.at<uint8_t>(y),
                       [](uint8_t truth) { return static_cast<uint8_t>(truth == 0); });
    });
}

// Moves bits: what is not selected is not looked at.
void lower_select(Lowering& l, const mil::OpView& op, Results results) {
    const Shape& shape = results[0]->type.shape;
    const LoopNest<4> nest(
        shape, {broadcast_strides(op.type("cond").shape, shape), broadcast_strides(op.type("a").shape, shape),
                broadcast_strides(op.type("b").shape, shape), row_major_strides(shape)});
    const Buffer condition = l.buffer(op.value("cond")), a = l.buffer(op.value("a")),
                 b = l.buffer(op.value("b")), y = l.result(*results[0]);
    l.step({condition, a, b}, {y}, [=](const Execution& e) {
        const auto strides = nest.inner().strides;
        for_each_stretch(e, nest, [&](const std::array<int64_t, 4>& at, int64_t n) {
            for (int64_t i = 0; i < n; ++i)
                e.at<half>(y)[at[3] + i] = e.at<uint8_t>(condition)[at[0] + i * strides[0]]
                                               ? e.at<half>(a)[at[1] + i * strides[1]]
                                               : e.at<half>(b)[at[2] + i * strides[2]];
        });
    });
}

}  // namespace

std::span<const LoweringEntry> elementwise_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"abs", lower_unary<Unary::abs>},
        {"add", lower_binary<Binary::add>},
        {"atan", lower_unary<Unary::atan>},
        {"ceil", lower_unary<Unary::ceil>},
        {"clamped_relu", lower_unary<Unary::clamped_relu>},
        {"clip", lower_unary<Unary::clip>},
        {"cos", lower_sine<Unary::cos>},
        {"elu", lower_unary<Unary::elu>},
        {"equal", lower_binary<Binary::equal>},
        {"erf", lower_unary<Unary::erf>},
        {"exp", lower_unary<Unary::exp>},
        {"exp2", lower_unary<Unary::exp2>},
        {"floor", lower_unary<Unary::floor>},
        {"floor_div", lower_binary<Binary::floor_div>},
        {"gelu", lower_gelu},
        {"greater", lower_binary<Binary::greater>},
        {"greater_equal", lower_binary<Binary::greater_equal>},
        {"inverse", lower_unary<Unary::inverse>},
        {"leaky_relu", lower_unary<Unary::leaky_relu>},
        {"less", lower_binary<Binary::less>},
        {"less_equal", lower_binary<Binary::less_equal>},
        {"linear_activation", lower_unary<Unary::linear_activation>},
        {"log", lower_unary<Unary::log>},
        {"logical_not", lower_logical_not},
        {"maximum", lower_binary<Binary::maximum>},
        {"minimum", lower_binary<Binary::minimum>},
        {"mul", lower_binary<Binary::mul>},
        {"not_equal", lower_binary<Binary::not_equal>},
        {"pow", lower_binary<Binary::pow>},
        {"prelu", lower_prelu},
        {"real_div", lower_binary<Binary::real_div>},
        {"relu", lower_unary<Unary::relu>},
        {"relu6", lower_relu6},
        {"round", lower_round},
        {"rsqrt", lower_unary<Unary::rsqrt>},
        {"scaled_tanh", lower_unary<Unary::scaled_tanh>},
        {"select", lower_select},
        {"sigmoid", lower_unary<Unary::sigmoid>},
        {"sigmoid_hard", lower_unary<Unary::sigmoid_hard>},
        {"sign", lower_unary<Unary::sign>},
        {"silu", lower_unary<Unary::silu>},
        {"sin", lower_sine<Unary::sin>},
        {"softplus", lower_softplus},
        {"softsign", lower_unary<Unary::softsign>},
        {"sqrt", lower_unary<Unary::sqrt>},
        {"square", lower_unary<Unary::square>},
        {"sub", lower_binary<Binary::sub>},
        {"tanh", lower_unary<Unary::tanh>},
        {"threshold", lower_unary<Unary::threshold>},
        {"thresholded_relu", lower_unary<Unary::thresholded_relu>},
    };
    return table;
}

}  // namespace ane::emulator
