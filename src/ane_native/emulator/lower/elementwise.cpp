// Activations, and arithmetic with broadcasting: fp16 in, fp32 math, one rounding to fp16. On the engine a
// function of one number is a table.
#include <functional>

#include "emulator/engine_functions.h"
#include "emulator/lowering.h"

namespace ane::emulator {

namespace {

void add_unary(Lowering& l, const mil::Value& x, Operand result, Unary kind, Parameters parameters) {
    Elementwise work{
        .count = x.type.elements(), .operands = {l.operand(x, x.type.shape)}, .result = std::move(result)};
    if (l.profile().is_engine())
        work.compute = [table = engine_function(kind, parameters)](const Piece& p) {
            p.kernels.look_up(table->data(), p.array<half>(0), p.to<half>(), p.size());
        };
    else
        work.compute = [=](const Piece& p) {
            p.kernels.unary_halves(kind, p.array<half>(0), parameters, p.to<half>(), p.size());
        };
    l.step(std::move(work));
}

void add_unary(Lowering& l, const mil::OpView& op, Results results, Unary kind, Parameters parameters) {
    add_unary(l, op.value("x"), l.result_operand(*results[0]), kind, parameters);
}

template <Unary kind>
void lower_unary(Lowering& l, const mil::OpView& op, Results results) {
    const auto scalar = [&](const char* name) { return op.has(name) ? op.number(name) : 0.0f; };
    add_unary(l, op, results, kind, {scalar(op.has("epsilon") ? "epsilon" : "alpha"), scalar("beta")});
}

void lower_gelu(Lowering& l, const mil::OpView& op, Results results) {
    const std::string mode = op.text("mode");
    add_unary(l, op, results,
              mode == "EXACT"                ? Unary::gelu_exact
              : mode == "TANH_APPROXIMATION" ? Unary::gelu_tanh
                                             : Unary::gelu_sigmoid,
              {});
}

void lower_relu6(Lowering& l, const mil::OpView& op, Results results) {
    add_unary(l, op, results, Unary::clip, {0.0f, 6.0f});
}

// z = x op y, in fp16 or as truth values.
void add_binary(Lowering& l, Binary kind, Operand x, Operand y, const mil::Value& result) {
    const bool is_truth = result.type.dtype == DType::boolean;
    const Numbers numbers = l.profile().numbers;
    l.step({.count = result.type.elements(),
            .operands = {std::move(x), std::move(y)},
            .result = l.result_operand(result),
            .compute = [=](const Piece& p) {
                const auto a = p.operand<half>(0), b = p.operand<half>(1);
                if (is_truth)
                    p.kernels.compare(kind, a, b, p.to<uint8_t>(), p.size(), numbers);
                else
                    p.kernels.binary_halves(kind, a, b, p.to<half>(), p.size(), numbers);
            }});
}

template <Binary kind>
void lower_binary(Lowering& l, const mil::OpView& op, Results results) {
    const Shape& shape = results[0]->type.shape;
    add_binary(l, kind, l.operand(op.value("x"), shape), l.operand(op.value("y"), shape), *results[0]);
}

// The engine multiplies with the reciprocal, which is rounded too.
void lower_real_div(Lowering& l, const mil::OpView& op, Results results) {
    if (!l.profile().is_engine()) return lower_binary<Binary::real_div>(l, op, results);
    const mil::Value& y = op.value("y");
    const Shape& shape = results[0]->type.shape;
    const Buffer reciprocal = l.scratch(y.type.bytes());
    add_unary(l, y, {reciprocal, sizeof(half), packed_walk(y.type.elements())}, Unary::inverse, {});
    add_binary(l, Binary::mul, l.operand(op.value("x"), shape),
               {reciprocal, sizeof(half), {shape, broadcast_strides(y.type.shape, shape)}}, *results[0]);
}

// One slope for each channel, which is axis 1.
void lower_prelu(Lowering& l, const mil::OpView& op, Results results) {
    const Shape& shape = results[0]->type.shape;
    std::vector<int64_t> strides(shape.size(), 0);
    strides[1] = 1;
    const Operand slopes{l.buffer(op.value("alpha")), sizeof(half), {shape, strides}};
    add_binary(l, Binary::prelu, l.operand(op.value("x"), shape), slopes, *results[0]);
}

void lower_logical_not(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    l.step({.count = x.type.elements(),
            .operands = {l.operand(x, x.type.shape)},
            .result = l.result_operand(*results[0]),
            .compute = [](const Piece& p) {
                p.kernels.logical_not(p.array<uint8_t>(0), p.to<uint8_t>(), p.size());
            }});
}

// Truth values are 0 and 1.
template <typename Combine>
void lower_logical(Lowering& l, const mil::OpView& op, Results results) {
    const Shape& shape = results[0]->type.shape;
    l.step({.count = results[0]->type.elements(),
            .operands = {l.operand(op.value("x"), shape), l.operand(op.value("y"), shape)},
            .result = l.result_operand(*results[0]),
            .compute = [](const Piece& p) {
                const auto x = p.operand<uint8_t>(0), y = p.operand<uint8_t>(1);
                for (size_t i = 0; i < p.size(); ++i)
                    p.to<uint8_t>()[i] = Combine()(x.data[i * x.step], y.data[i * y.step]);
            }});
}

void lower_select(Lowering& l, const mil::OpView& op, Results results) {
    const Shape& shape = results[0]->type.shape;
    l.step({.count = results[0]->type.elements(),
            .operands = {l.operand(op.value("cond"), shape), l.operand(op.value("a"), shape),
                         l.operand(op.value("b"), shape)},
            .result = l.result_operand(*results[0]),
            .compute = [](const Piece& p) {
                p.kernels.select(p.operand<uint8_t>(0), p.operand<half>(1), p.operand<half>(2), p.to<half>(),
                                 p.size());
            }});
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
        {"cos", lower_unary<Unary::cos>},
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
        {"logical_and", lower_logical<std::bit_and<uint8_t>>},
        {"logical_not", lower_logical_not},
        {"logical_or", lower_logical<std::bit_or<uint8_t>>},
        {"logical_xor", lower_logical<std::bit_xor<uint8_t>>},
        {"maximum", lower_binary<Binary::maximum>},
        {"minimum", lower_binary<Binary::minimum>},
        {"mul", lower_binary<Binary::mul>},
        {"not_equal", lower_binary<Binary::not_equal>},
        {"pow", lower_binary<Binary::pow>},
        {"prelu", lower_prelu},
        {"real_div", lower_real_div},
        {"relu", lower_unary<Unary::relu>},
        {"relu6", lower_relu6},
        {"round", lower_unary<Unary::round>},
        {"rsqrt", lower_unary<Unary::rsqrt>},
        {"scaled_tanh", lower_unary<Unary::scaled_tanh>},
        {"select", lower_select},
        {"sigmoid", lower_unary<Unary::sigmoid>},
        {"sigmoid_hard", lower_unary<Unary::sigmoid_hard>},
        {"sign", lower_unary<Unary::sign>},
        {"silu", lower_unary<Unary::silu>},
        {"sin", lower_unary<Unary::sin>},
        {"softplus", lower_unary<Unary::softplus>},
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
