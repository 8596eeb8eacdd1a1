// Convolution and matrix products: conv, conv_transpose, matmul, einsum, linear,
// scaled_dot_product_attention.
#include <algorithm>

#include "product_shape.h"
#include "table.h"
#include "window_shape.h"

namespace ane::mil {

namespace {

void check_bias(const OpView& op, int64_t channels) {
    if (op.has("bias") && op.type("bias").shape != Shape{channels})
        op.fail("bias",
                "bias must be " + to_string(Shape{channels}) + ", is " + to_string(op.type("bias").shape));
}

std::vector<TensorType> infer_conv(const OpView& op) {
    const ConvWindow w = conv_window(op);
    check_bias(op, w.out_channels);
    return {{DType::fp16, window_result(op, w, w.out_channels, &WindowAxis::extent)}};
}

std::vector<TensorType> infer_conv_transpose(const OpView& op) {
    const ConvWindow w = conv_transpose_window(op);
    check_bias(op, w.in_channels);
    return {{DType::fp16, window_result(op, w, w.in_channels, &WindowAxis::size)}};
}

std::vector<TensorType> infer_matmul(const OpView& op) {
    const MatmulExtents m = matmul_extents(op);
    Shape shape = m.batch;
    shape.insert(shape.end(), {m.rows, m.columns});
    return {{DType::fp16, shape}};
}

std::vector<TensorType> infer_einsum(const OpView& op) {
    const MatmulExtents m = einsum_extents(op);
    Shape shape = m.batch;
    shape.insert(shape.end() - 1, m.rows);
    shape.push_back(m.columns);
    return {{DType::fp16, shape}};
}

std::vector<TensorType> infer_linear(const OpView& op) {
    const Shape &x = op.type("x").shape, &weight = op.type("weight").shape;
    if (x.empty()) op.fail("x", "x must have at least one axis");
    if (weight.size() != 2) op.fail("weight", "weight must be [out, in], is " + to_string(weight));
    if (weight[1] != x.back())
        op.fail("weight", "weight has " + std::to_string(weight[1]) + " input features, x has " +
                              std::to_string(x.back()));
    check_bias(op, weight[0]);
    Shape shape = x;
    shape.back() = weight[0];
    return {{DType::fp16, shape}};
}

std::vector<TensorType> infer_attention(const OpView& op) {
    const Shape &query = op.type("query").shape, &key = op.type("key").shape, &value = op.type("value").shape;
    const size_t rank = query.size();
    if (rank < 3) op.fail("query", "query must be [batch..., length, features], is " + to_string(query));
    const auto same_batch = [&](const Shape& other) {
        return other.size() == rank && std::equal(query.begin(), query.end() - 2, other.begin());
    };
    if (!same_batch(key) || key[rank - 1] != query[rank - 1])
        op.fail("key", "key " + to_string(key) + " does not match query " + to_string(query));
    if (!same_batch(value) || value[rank - 2] != key[rank - 2])
        op.fail("value", "value " + to_string(value) + " does not match key " + to_string(key));
    if (op.has("attn_mask")) {
        const Shape& mask = op.type("attn_mask").shape;
        Shape scores = query;
        scores[rank - 1] = key[rank - 2];
        if (broadcast(scores, mask) != scores)
            op.fail("attn_mask",
                    "attn_mask " + to_string(mask) + " does not broadcast to " + to_string(scores));
    }
    Shape shape = query;
    shape[rank - 1] = value[rank - 1];
    return {{DType::fp16, shape}};
}

}  // namespace

std::span<const OpSpec> product_ops() {
    static const auto& table = *new std::vector<OpSpec>{
        {"conv",
         {{"x", tensor, half},
          {"weight", tensor, half},
          {"bias", tensor, half, optional},
          {"strides", constant, integer, optional},
          {"pad_type", constant, text, optional, "valid"},
          {"pad", constant, integer, optional},
          {"dilations", constant, integer, optional},
          {"groups", constant, integer, optional, 1}},
         infer_conv},
        {"conv_transpose",
         {{"x", tensor, half},
          {"weight", tensor, half},
          {"bias", tensor, half, optional},
          {"strides", constant, integer, optional},
          {"pad_type", constant, text, optional, "valid"},
          {"pad", constant, integer, optional},
          {"dilations", constant, integer, optional},
          {"groups", constant, integer, optional, 1},
          {"output_shape", constant, integer, optional}},
         infer_conv_transpose},
        {"matmul",
         {{"x", tensor, half},
          {"y", tensor, half},
          {"transpose_x", constant, boolean, optional, false},
          {"transpose_y", constant, boolean, optional, false}},
         infer_matmul},
        {"einsum",
         {{"values", tuple, half}, {"equation", constant, text, required, "nchw,nwhu->nchu"}},
         infer_einsum},
        {"linear",
         {{"x", tensor, half}, {"weight", tensor, half}, {"bias", tensor, half, optional}},
         infer_linear},
        {"scaled_dot_product_attention",
         {{"query", tensor, half},
          {"key", tensor, half},
          {"value", tensor, half},
          {"attn_mask", tensor, half, optional}},
         infer_attention,
         18},
    };
    return table;
}

}  // namespace ane::mil
