// One result element for each input element: arithmetic and comparisons with broadcasting, and activations.
#include <utility>

#include "table.h"

namespace ane::mil {

namespace {

std::vector<TensorType> infer_unary(const OpView& op) { return {op.type("x")}; }

std::vector<TensorType> infer_with_scalars(const OpView& op) {
    for (const auto name : {"alpha", "beta", "epsilon"})
        if (op.has(name) && op.type(name).rank() != 0) op.fail(name, std::string(name) + " must be a scalar");
    return {op.type("x")};
}

std::vector<TensorType> infer_prelu(const OpView& op) {
    const Shape& x = op.type("x").shape;
    if (x.size() < 3) op.fail("x", "x must be [batch, channels, ...] of 3 to 5 axes, is " + to_string(x));
    if (op.type("alpha").shape != Shape{x[1]})
        op.fail("alpha", "alpha must be " + to_string(Shape{x[1]}) + ", a slope for each channel, is " +
                             to_string(op.type("alpha").shape));
    return {op.type("x")};
}

std::vector<TensorType> infer_gelu(const OpView& op) {
    const std::string mode = op.text("mode");
    if (mode != "EXACT" && mode != "TANH_APPROXIMATION" && mode != "SIGMOID_APPROXIMATION")
        op.fail("mode",
                "mode must be EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION, is \"" + mode + "\"");
    return {op.type("x")};
}

Shape broadcast_operands(const OpView& op, std::string_view x_name, std::string_view y_name, const Shape& x,
                         const Shape& y) {
    const auto shape = broadcast(x, y);
    if (!shape)
        op.fail(y_name, std::string(x_name) + " " + to_string(x) + " and " + std::string(y_name) + " " +
                            to_string(y) + " do not broadcast");
    return *shape;
}

template <DType result>
std::vector<TensorType> infer_binary(const OpView& op) {
    return {{result, broadcast_operands(op, "x", "y", op.type("x").shape, op.type("y").shape)}};
}

std::vector<TensorType> infer_select(const OpView& op) {
    const Shape both = broadcast_operands(op, "a", "b", op.type("a").shape, op.type("b").shape);
    return {{DType::fp16, broadcast_operands(op, "a and b", "cond", both, op.type("cond").shape)}};
}

}  // namespace

std::span<const OpSpec> elementwise_ops() {
    static const auto& table = *new std::vector<OpSpec>([] {
        const Parameter x = {"x", tensor, half}, y = {"y", tensor, half}, alpha = {"alpha", constant, half},
                        beta = {"beta", constant, half};
        std::vector<OpSpec> ops;
        for (const auto name : {"add", "sub", "mul", "real_div", "floor_div", "maximum", "minimum", "pow"})
            ops.push_back({name, {x, y}, infer_binary<DType::fp16>});
        for (const auto name : {"equal", "greater", "greater_equal", "less", "less_equal", "not_equal"})
            ops.push_back({name, {x, y}, infer_binary<DType::boolean>});
        for (const auto name :
             {"abs",   "atan",    "ceil", "cos",  "erf", "exp",      "exp2",     "floor", "relu",   "relu6",
              "round", "sigmoid", "sign", "silu", "sin", "softplus", "softsign", "sqrt",  "square", "tanh"})
            ops.push_back({name, {x}, infer_unary});
        for (const auto& [name, epsilon] : {std::pair{"inverse", 1e-4f}, {"log", 0.0f}, {"rsqrt", 0.0f}})
            ops.push_back({name, {x, {"epsilon", constant, half, required, epsilon}}, infer_with_scalars});
        for (const auto name : {"elu", "leaky_relu", "threshold", "thresholded_relu"})
            ops.push_back({name, {x, alpha}, infer_with_scalars});
        for (const auto name : {"clamped_relu", "clip", "linear_activation", "scaled_tanh", "sigmoid_hard"})
            ops.push_back({name, {x, alpha, beta}, infer_with_scalars});
        ops.push_back({"prelu", {x, alpha}, infer_prelu});
        ops.push_back({"logical_not", {{"x", tensor, boolean}}, infer_unary});
        for (const auto name : {"logical_and", "logical_or", "logical_xor"})
            ops.push_back(
                {name, {{"x", tensor, boolean}, {"y", tensor, boolean}}, infer_binary<DType::boolean>});
        ops.push_back(
            {"select", {{"cond", tensor, boolean}, {"a", tensor, half}, {"b", tensor, half}}, infer_select});
        ops.push_back({"gelu", {x, {"mode", constant, text, optional, "EXACT"}}, infer_gelu});
        return ops;
    }());
    return table;
}

}  // namespace ane::mil
