// conv, conv_transpose, matmul, einsum, linear and attention.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "convolution.h"
#include "copy.h"
#include "emulator/lowering.h"
#include "emulator/strided.h"
#include "integer_product.h"
#include "mil/ops/product_shape.h"
#include "mil/ops/slice_shape.h"
#include "product_tiles.h"
#include "rows.h"

namespace ane::emulator {

namespace {

// Loops over the batch axes, with a unit loop inside so that offsets() covers them all.
LoopNest<2> batch_loops(const Shape& batch, const Shape& x, const Shape& y) {
    std::array<std::vector<int64_t>, 2> strides;
    const std::array<const Shape*, 2> shapes = {&x, &y};
    for (size_t k = 0; k < 2; ++k) {
        const Shape& shape = *shapes[k];
        strides[k] = broadcast_strides({shape.begin(), shape.end() - 2}, batch);
        for (int64_t& stride : strides[k]) stride *= shape[shape.size() - 2] * shape[shape.size() - 1];
    }
    LoopNest<2> nest(batch, strides);
    nest.axes.push_back({1, {}});
    return nest;
}

// With integers the weight is the left operand, so that a weight y gives the product transposed.
bool lower_integer_matmul(Lowering& l, const mil::OpView& op, const mil::MatmulExtents& m, Results results) {
    for (const bool weight_is_x : {true, false}) {
        const mil::Value &weight = op.value(weight_is_x ? "x" : "y"), &x = op.value(weight_is_x ? "y" : "x");
        const int64_t rows = weight_is_x ? m.rows : m.columns, columns = weight_is_x ? m.columns : m.rows;
        const bool is_transposed =
            weight_is_x ? m.transpose_x : !m.transpose_y;  // the weight is [inner, rows]
        const auto integers =
            integer_operands(l, x, weight, weight.type.rank() - (is_transposed ? 1 : 2), m.inner);
        if (!integers) continue;
        IntegerProduct product{TensorType{DType::fp16, m.batch}.elements(),
                               rows,
                               m.inner,
                               columns,
                               [loops = batch_loops(m.batch, weight.type.shape, x.type.shape),
                                size = rows * m.inner](int64_t batch) {
                                   const auto [at_weight, at_x] = loops.offsets(batch);
                                   return std::array{at_weight / size, at_x};
                               },
                               is_transposed ? 1 : m.inner,
                               is_transposed ? rows : 1};
        product.x_is_transposed = weight_is_x ? m.transpose_y : !m.transpose_x;
        product.z_is_transposed = !weight_is_x;
        add_integer_product(l, product, *integers, {}, *results[0]);
        return true;
    }
    return false;
}

// The rows of x, in the wider ones that it was sliced from: the slice need not be stored.
Rows rows_in_place(Lowering& l, const mil::Value& x) {
    const int64_t columns = x.type.shape.back();
    const mil::Operation* producer = l.fuses() ? l.producer(x) : nullptr;
    while (producer && producer->op == "reshape") {
        const mil::Value& from = l.view(*producer).value("x");
        producer = from.type.shape.empty() || from.type.shape.back() != columns ? nullptr : l.producer(from);
    }
    if (!producer || producer->op != "slice_by_size") return {l.buffer(x), 0, columns};
    const mil::OpView slice = l.view(*producer);
    const mil::Value& whole = slice.value("x");
    const int64_t begin = mil::slice_by_size_window(slice).begin.back(), pitch = whole.type.shape.back();
    const bool has_all_rows = whole.type.elements() / pitch == x.type.elements() / columns;
    const bool is_exact = begin == 0 || std::isinf(l.profile().slice_limit);
    if (!has_all_rows || !is_exact) return {l.buffer(x), 0, columns};
    return {l.buffer(whole), begin, pitch};
}

void lower_matmul(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value &x = op.value("x"), &y = op.value("y");
    const mil::MatmulExtents m = mil::matmul_extents(op);
    if (lower_integer_matmul(l, op, m, results)) return;
    const int64_t size_x = m.rows * m.inner, size_y = m.inner * m.columns;
    const Buffer a = m.transpose_x
                         ? transposed(l, rows_in_place(l, x), x.type.elements() / size_x, m.inner, m.rows)
                         : l.buffer(x);
    const Buffer b = m.transpose_y
                         ? transposed(l, rows_in_place(l, y), y.type.elements() / size_y, m.columns, m.inner)
                         : l.buffer(y);
    const Product product{TensorType{DType::fp16, m.batch}.elements(),
                          m.rows,
                          m.inner,
                          m.columns,
                          [loops = batch_loops(m.batch, x.type.shape, y.type.shape)](int64_t batch) {
                              return loops.offsets(batch);
                          },
                          {}};
    add_product(l, product, a, b, l.result(*results[0]));
}

// [..., rows, height, columns] as [..., height, rows, columns], or back.
std::vector<int64_t> exchange(size_t rank) {
    std::vector<int64_t> permutation(rank);
    std::iota(permutation.begin(), permutation.end(), 0);
    std::swap(permutation[rank - 3], permutation[rank - 2]);
    return permutation;
}

// The matrices of x by height; `shape` becomes theirs.
Buffer by_height(Lowering& l, const mil::Value& x, Shape& shape) {
    shape = x.type.shape;
    int64_t &rows = shape[shape.size() - 3], &height = shape[shape.size() - 2];
    Buffer y = l.buffer(x);
    if (rows != 1 && height != 1) {
        y = l.scratch(x.type.bytes());
        add_transpose(l, l.buffer(x), x.type, exchange(shape.size()), y);
    }
    std::swap(rows, height);
    return y;
}

// Matrix products for each height, which becomes the last of the batch axes.
void lower_einsum(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value &x = *op.tuple("values")[0], &y = *op.tuple("values")[1];
    const mil::MatmulExtents m = mil::einsum_extents(op);
    Shape shape_x, shape_y, shape_z = m.batch;
    const Buffer a = by_height(l, x, shape_x), b = by_height(l, y, shape_y);
    shape_z.insert(shape_z.end(), {m.rows, m.columns});
    const Product product{
        TensorType{DType::fp16, m.batch}.elements(),
        m.rows,
        m.inner,
        m.columns,
        [loops = batch_loops(m.batch, shape_x, shape_y)](int64_t batch) { return loops.offsets(batch); },
        {}};
    const Buffer z = l.result(*results[0]);
    if (m.batch.back() == 1 || m.rows == 1) return add_product(l, product, a, b, z);
    const Buffer products = l.scratch(results[0]->type.bytes());
    add_product(l, product, a, b, products);
    add_transpose(l, products, {DType::fp16, shape_z}, exchange(shape_z.size()), z);
}

void lower_linear(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value &x = op.value("x"), &weight = op.value("weight");
    if (!l.is_constant(weight))
        op.refuse("weight", "'weight' must be a constant: use matmul for run-time weights");
    const int64_t inputs = x.type.shape.back(), outputs = weight.type.shape[0];
    const int64_t rows = x.type.elements() / inputs;
    const auto bias = constant_bias(l, op);
    if (const auto integers = integer_operands(l, x, weight, 0, inputs)) {
        IntegerProduct product{
            1, outputs, inputs, rows, [](int64_t) { return std::array<int64_t, 2>{}; }, inputs, 1};
        product.x_is_transposed = product.z_is_transposed = true;
        return add_integer_product(l, product, *integers, bias, *results[0]);
    }
    const auto scaled = bias ? std::nullopt : scaled_codes(l, x, weight);
    const Buffer sums = scaled ? l.scratch(results[0]->type.bytes()) : l.result(*results[0]);
    add_linear(l, l.buffer(x), rows, inputs, outputs, scaled ? scaled->codes : l.buffer(weight), bias, sums);
    if (scaled) add_scales(l, sums, scaled->scales, results[0]->type.rank() - 1, *results[0]);
}

struct Attention {
    int64_t batches, rows, features, length, value_features;
    float scale;
    Buffer q, k, v, z;  // k is transposed: [features, length]
};

// On the engine: two products and a softmax, each rounded to fp16. Whether it scales the query or the scores
// is not known.
void add_attention_in_steps(Lowering& l, const Attention& a) {
    const int64_t count = a.batches * a.rows * a.length, bytes = count * static_cast<int64_t>(sizeof(half));
    const Buffer scores = l.scratch(bytes), scaled = l.scratch(bytes), weights = l.scratch(bytes);
    const auto multiply = [&](int64_t inner, int64_t columns, Buffer x, Buffer y, Buffer z) {
        const auto offsets = [=, rows = a.rows](int64_t batch) {
            return std::array{batch * rows * inner, batch * inner * columns};
        };
        add_product(l, {a.batches, a.rows, inner, columns, offsets, {}}, x, y, z);
    };
    multiply(a.features, a.length, a.q, a.k, scores);
    half scale;
    l.kernels().to_half(&a.scale, &scale, 1, {l.profile().numbers});
    const auto in = [count](Buffer b) { return Operand{b, sizeof(half), packed_walk(count)}; };
    l.step({.count = count,
            .operands = {in(scores)},
            .result = in(scaled),
            .compute = [scale, numbers = l.profile().numbers](const Piece& p) {
                p.kernels.binary_halves(Binary::mul, p.array<half>(0), {&scale, 0}, p.to<half>(), p.size(),
                                        numbers);
            }});
    add_softmax(
        l, {.view = {a.batches * a.rows, a.length, 1}, .x = scaled, .y = weights, .along_last_axis = true});
    multiply(a.length, a.value_features, weights, a.v, a.z);
}

// softmax(query key^T / sqrt(features) + mask) value; without the engine in fp32 with one rounding at the
// end.
void lower_attention(Lowering& l, const mil::OpView& op, Results results) {
    constexpr int64_t block = 64;  // rows of the score matrix at a time
    const Shape &query = op.type("query").shape, &value = op.type("value").shape;
    const int64_t features = query.back(), rows = query[query.size() - 2];
    const int64_t length = value[value.size() - 2], value_features = value.back();
    const int64_t batches = op.type("query").elements() / (rows * features);
    const bool masked = op.has("attn_mask") && !l.profile().ignores_attention_mask;
    if (op.has("attn_mask") && !masked)
        l.note("attn_mask is ignored on " + std::string(l.profile().name) +
               ", as on the engine (measured on M4): add the mask to the scores of a decomposed attention "
               "instead");

    const float scale = 1.0f / std::sqrt(static_cast<float>(features));
    const Buffer q = l.buffer(op.value("query")), v = l.buffer(op.value("value"));
    const Buffer k = transposed(l, {l.buffer(op.value("key")), 0, features}, batches, length, features);
    if (l.profile().is_engine())
        return add_attention_in_steps(
            l, {batches, rows, features, length, value_features, scale, q, k, v, l.result(*results[0])});
    std::vector<Buffer> reads = {q, k, v};
    Shape score_shape = query;
    score_shape.back() = length;
    std::vector<int64_t> mask_strides(score_shape.size(), 0);
    std::optional<Buffer> mask;
    if (masked) {
        mask = l.floats(op.value("attn_mask"));
        mask_strides = broadcast_strides(op.type("attn_mask").shape, score_shape);
        reads.push_back(*mask);
    }
    // One score matrix row a position of this nest; the innermost axis stays apart.
    LoopNest<1> mask_rows({score_shape.begin(), score_shape.end() - 1},
                          {{{mask_strides.begin(), mask_strides.end() - 1}}});
    mask_rows.axes.push_back({1, {}});
    const auto mask_step = static_cast<size_t>(mask_strides.back());  // 1, or 0 where one repeats

    const Buffer z = l.result(*results[0]);
    const int64_t score_stride = padded(length), sum_stride = padded(value_features);
    const int64_t query_size = padded(block * features);
    const int64_t panel_size = std::max(panel_floats(features, length), panel_floats(length, value_features));
    const int64_t worker_floats = query_size + block * (score_stride + sum_stride) + panel_size;
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    const Rounding rounding = l.profile().product;
    const int64_t blocks = ceil_divide(rows, block);
    l.step(reads, {z, scratch}, [=](const Execution& e) {
        e.threads.parallel_for(batches * blocks, [&](int64_t task, int worker) {
            const int64_t batch = task / blocks, first = task % blocks * block,
                          m = std::min(block, rows - first);
            float* queries = e.at<float>(scratch) + worker * worker_floats;
            float* scores = queries + query_size;
            float* sums = scores + block * score_stride;
            float* panel = sums + block * sum_stride;
            e.kernels.to_float(e.at<half>(q) + (batch * rows + first) * features, queries,
                               static_cast<size_t>(m * features));
            multiply(e.kernels, queries, features, m, e.at<half>(k) + batch * length * features, features,
                     length, panel, scores, score_stride);
            for (int64_t i = 0; i < m; ++i) {
                float* row = scores + i * score_stride;
                e.kernels.binary_scalar(Binary::mul, row, scale, row, static_cast<size_t>(length));
                if (masked) {
                    const float* added = e.at<float>(*mask) + mask_rows.offsets(batch * rows + first + i)[0];
                    e.kernels.binary(Binary::add, row, {added, mask_step}, row, static_cast<size_t>(length));
                }
                softmax(e.kernels, row, static_cast<size_t>(length));
            }
            multiply(e.kernels, scores, score_stride, m, e.at<half>(v) + batch * length * value_features,
                     length, value_features, panel, sums, sum_stride);
            for (int64_t i = 0; i < m; ++i)
                e.kernels.to_half(sums + i * sum_stride,
                                  e.at<half>(z) + (batch * rows + first + i) * value_features,
                                  static_cast<size_t>(value_features), rounding);
        });
    });
}

}  // namespace

std::span<const LoweringEntry> product_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"conv", lower_conv},     {"conv_transpose", lower_conv_transpose},
        {"einsum", lower_einsum}, {"linear", lower_linear},
        {"matmul", lower_matmul}, {"scaled_dot_product_attention", lower_attention},
    };
    return table;
}

}  // namespace ane::emulator
