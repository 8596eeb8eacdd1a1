// Operations along axes: reductions, softmax, norms.
#include <algorithm>

#include "table.h"

namespace ane::mil {

namespace {

std::vector<TensorType> infer_reduce(const OpView& op) {
    const Shape& x = op.type("x").shape;
    const auto axes = op.axes("axes", static_cast<int64_t>(x.size()));
    const bool keep = op.boolean("keep_dims");
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
    if (axes.empty()) op.fail("axes", "axes is empty: name the axes to normalize");
    Shape normalized;
    for (const int64_t axis : axes) normalized.push_back(x[axis]);
    for (const auto name : {"gamma", "beta"})
        if (op.has(name) && op.type(name).shape != normalized)
            op.fail(name, std::string(name) + " must be " + to_string(normalized) + " like the axes, is " +
                              to_string(op.type(name).shape));
    if (op.has("epsilon") && op.type("epsilon").rank() != 0) op.fail("epsilon", "epsilon must be a scalar");
    return {op.type("x")};
}

// [batch, channels, ...] with constants of one element for each channel.
void check_channels(const OpView& op, int64_t max_rank) {
    const Shape& x = op.type("x").shape;
    if (x.size() < 3 || static_cast<int64_t>(x.size()) > max_rank)
        op.fail("x", "x must be [batch, channels, ...] of 3 to " + std::to_string(max_rank) + " axes, is " +
                         to_string(x));
    for (const auto name : {"mean", "variance", "gamma", "beta"})
        if (op.has(name) && op.type(name).shape != Shape{x[1]})
            op.fail(name, std::string(name) + " must be " + to_string(Shape{x[1]}) +
                              ", an element for each channel, is " + to_string(op.type(name).shape));
    if (op.has("epsilon") && op.type("epsilon").elements() != 1)
        op.fail("epsilon", "epsilon must be a scalar");
}

template <int64_t max_rank>
std::vector<TensorType> infer_channel_norm(const OpView& op) {
    check_channels(op, max_rank);
    return {op.type("x")};
}

std::vector<TensorType> infer_l2_norm(const OpView& op) {
    if (op.type("x").rank() < 3)
        op.fail("x", "x must have at least three axes, is " + to_string(op.type("x").shape));
    if (op.has("epsilon") && op.type("epsilon").elements() != 1)
        op.fail("epsilon", "epsilon must be a scalar");
    return {op.type("x")};
}

std::vector<TensorType> infer_local_response_norm(const OpView& op) {
    const Shape& x = op.type("x").shape;
    if (x.size() != 3 && x.size() != 4)
        op.fail("x", "x must be [batch, channels, ...] of 3 or 4 axes, is " + to_string(x));
    for (const auto name : {"alpha", "beta", "k"})
        if (op.has(name) && op.type(name).elements() != 1)
            op.fail(name, std::string(name) + " must be a scalar");
    const int64_t size = op.integer("size");
    if (size < 1) op.fail("size", "size must be positive");
    return {op.type("x")};
}

}  // namespace

std::span<const OpSpec> reduction_ops() {
    static const auto& table = *new std::vector<OpSpec>([] {
        std::vector<OpSpec> ops;
        for (const auto name : {"reduce_l1_norm", "reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp",
                                "reduce_max", "reduce_mean", "reduce_min", "reduce_sum", "reduce_sum_square"})
            ops.push_back({name,
                           {{"x", tensor, half},
                            {"axes", constant, integer, optional},
                            {"keep_dims", constant, boolean, optional, false}},
                           infer_reduce});
        ops.push_back(
            {"softmax", {{"x", tensor, half}, {"axis", constant, integer, optional, -1}}, infer_softmax});
        ops.push_back({"layer_norm",
                       {{"x", tensor, half},
                        {"axes", constant, integer, optional},
                        {"gamma", constant, half, optional},
                        {"beta", constant, half, optional},
                        {"epsilon", constant, half, optional, 1e-5f}},
                       infer_layer_norm});
        const Parameter x = {"x", tensor, half}, epsilon = {"epsilon", constant, half, optional, 1e-5f},
                        gamma = {"gamma", constant, half, optional},
                        beta = {"beta", constant, half, optional};
        ops.push_back({"batch_norm",
                       {x, {"mean", constant, half}, {"variance", constant, half}, gamma, beta, epsilon},
                       infer_channel_norm<5>});
        ops.push_back({"instance_norm", {x, gamma, beta, epsilon}, infer_channel_norm<4>});
        ops.push_back({"l2_norm", {x, {"epsilon", constant, half, optional, 1e-6f}}, infer_l2_norm});
        ops.push_back({"local_response_norm",
                       {x,
                        {"size", constant, integer},
                        {"alpha", constant, half, optional, 1e-4f},
                        {"beta", constant, half, optional, 0.75f},
                        {"k", constant, half, optional, 1.0f}},
                       infer_local_response_norm});
        return ops;
    }());
    return table;
}

}  // namespace ane::mil
