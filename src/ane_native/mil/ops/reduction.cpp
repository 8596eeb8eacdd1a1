// Operations along axes: reductions, softmax, layer_norm.
#include <algorithm>

#include "../op.h"

namespace ane::mil {

namespace {

constexpr DTypes half = dtypes(DType::fp16);
constexpr DTypes integer = dtypes(DType::int32);

std::vector<TensorType> infer_reduce(const OpView& op) {
    const Shape& x = op.type("x").shape;
    const auto axes = op.axes("axes", static_cast<int64_t>(x.size()));
    const bool keep = op.boolean("keep_dims", false);
    if (axes.empty()) op.fail("axes", "axes is empty: name the axes to reduce");
    Shape shape;
    for (int64_t i = 0; i < static_cast<int64_t>(x.size()); ++i) {
        const bool reduced = std::ranges::binary_search(axes, i);
        if (!reduced || keep) shape.push_back(reduced ? 1 : x[i]);
    }
    return {{DType::fp16, shape}};
}

std::vector<TensorType> infer_softmax(const OpView& op) {
    op.axis("axis", op.type("x").rank());
    return {op.type("x")};
}

std::vector<TensorType> infer_layer_norm(const OpView& op) {
    const Shape& x = op.type("x").shape;
    const auto axes = op.axes("axes", static_cast<int64_t>(x.size()));
    if (axes.empty()) op.fail("axes", "axes is empty: name the axes to normalise");
    Shape normalised;
    for (const int64_t axis : axes) normalised.push_back(x[axis]);
    for (const auto name : {"gamma", "beta"})
        if (op.has(name) && op.type(name).shape != normalised)
            op.fail(name, std::string(name) + " must be " + to_string(normalised) + " like the axes, is " +
                              to_string(op.type(name).shape));
    if (op.has("epsilon") && op.type("epsilon").rank() != 0) op.fail("epsilon", "epsilon must be a scalar");
    return {op.type("x")};
}

}  // namespace

std::span<const OpSpec> reduction_ops() {
    static const std::vector<OpSpec> table = [] {
        std::vector<OpSpec> ops;
        for (const auto name : {"reduce_max", "reduce_mean", "reduce_min", "reduce_sum"})
            ops.push_back({name,
                           {{"x", Role::tensor, half},
                            {"axes", Role::constant, integer},
                            {"keep_dims", Role::constant, dtypes(DType::boolean), false}},
                           infer_reduce});
        ops.push_back(
            {"softmax", {{"x", Role::tensor, half}, {"axis", Role::constant, integer}}, infer_softmax});
        ops.push_back({"layer_norm",
                       {{"x", Role::tensor, half},
                        {"axes", Role::constant, integer},
                        {"gamma", Role::constant, half, false},
                        {"beta", Role::constant, half, false},
                        {"epsilon", Role::constant, half, false}},
                       infer_layer_norm});
        return ops;
    }();
    return table;
}

}  // namespace ane::mil
