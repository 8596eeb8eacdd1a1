// One result element for each input element: arithmetic with broadcasting, and activations.
#include "../op.h"
#include "windows.h"

namespace ane::mil {

namespace {

constexpr DTypes half = dtypes(DType::fp16);

std::vector<TensorType> infer_unary(const OpView& op) { return {op.type("x")}; }

std::vector<TensorType> infer_epsilon(const OpView& op) {
    if (op.type("epsilon").rank() != 0) op.fail("epsilon", "epsilon must be a scalar");
    return {op.type("x")};
}

std::vector<TensorType> infer_gelu(const OpView& op) {
    const std::string mode = op.text("mode", "EXACT");
    if (mode != "EXACT" && mode != "TANH_APPROXIMATION" && mode != "SIGMOID_APPROXIMATION")
        op.fail("mode",
                "mode must be EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION, is \"" + mode + "\"");
    return {op.type("x")};
}

std::vector<TensorType> infer_binary(const OpView& op) {
    const Shape &x = op.type("x").shape, &y = op.type("y").shape;
    const auto shape = broadcast(x, y);
    if (!shape) op.fail("y", "x " + to_string(x) + " and y " + to_string(y) + " do not broadcast");
    return {{DType::fp16, *shape}};
}

}  // namespace

std::span<const OpSpec> elementwise_ops() {
    static const std::vector<OpSpec> table = [] {
        std::vector<OpSpec> ops;
        for (const auto name : {"add", "sub", "mul", "real_div", "maximum", "minimum", "pow"})
            ops.push_back({name, {{"x", Role::tensor, half}, {"y", Role::tensor, half}}, infer_binary});
        for (const auto name : {"abs", "exp", "relu", "sigmoid", "silu", "sqrt", "square", "tanh"})
            ops.push_back({name, {{"x", Role::tensor, half}}, infer_unary});
        for (const auto name : {"log", "rsqrt"})
            ops.push_back(
                {name, {{"x", Role::tensor, half}, {"epsilon", Role::constant, half}}, infer_epsilon});
        ops.push_back({"gelu",
                       {{"x", Role::tensor, half}, {"mode", Role::constant, dtypes(DType::string), false}},
                       infer_gelu});
        return ops;
    }();
    return table;
}

}  // namespace ane::mil
