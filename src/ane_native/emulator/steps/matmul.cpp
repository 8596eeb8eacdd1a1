// matmul, linear and attention: fp32 products and sums from BLAS, in tiles that do not depend on the thread
// count.
#include <algorithm>
#include <cmath>

#include "../../gemm.h"
#include "../../mil/ops/windows.h"
#include "../lowering.h"
#include "../strided.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

constexpr int64_t tile_rows = 128, tile_columns = 512;

struct Product {
    int64_t batches, rows, inner, columns;
    Transpose transpose_x, transpose_y;
    LoopNest<2> batch;  // offsets of each batch's matrices
};

// z = x y, tile by tile; `bias` (one element a column) is -1 where there is none.
void add_product(Lowering& l, const Product& p, Buffer x, Buffer y, Buffer bias, Buffer z) {
    const int64_t row_tiles = ceil_divide(p.rows, tile_rows),
                  column_tiles = ceil_divide(p.columns, tile_columns);
    const int64_t tile_elements = std::min(p.rows, tile_rows) * std::min(p.columns, tile_columns);
    const Buffer sums = l.scratch(l.workers() * tile_elements * static_cast<int64_t>(sizeof(float)));
    const Rounding rounding = l.profile().product;
    std::vector<Buffer> reads = {x, y};
    if (bias >= 0) reads.push_back(bias);
    l.step(reads, {z, sums}, [=](const Execution& e) {
        e.threads.parallel_for(p.batches * row_tiles * column_tiles, [&](int64_t task, int worker) {
            const int64_t batch = task / (row_tiles * column_tiles);
            const int64_t row = task / column_tiles % row_tiles * tile_rows,
                          column = task % column_tiles * tile_columns;
            const int64_t m = std::min(tile_rows, p.rows - row),
                          n = std::min(tile_columns, p.columns - column);
            const auto [at_x, at_y] = p.batch.offsets(batch);
            const bool tx = p.transpose_x == Transpose::yes, ty = p.transpose_y == Transpose::yes;
            const float* a = e.at<float>(x) + at_x + (tx ? row : row * p.inner);
            const float* b = e.at<float>(y) + at_y + (ty ? column * p.inner : column);
            float* c = e.at<float>(sums) + worker * tile_elements;
            gemm(p.transpose_x, p.transpose_y, m, n, p.inner, 1.0f, a, tx ? p.rows : p.inner, b,
                 ty ? p.inner : p.columns, 0.0f, c, n);
            for (int64_t i = 0; i < m; ++i) {
                if (bias >= 0)
                    e.kernels.binary(Binary::add, c + i * n, e.at<float>(bias) + column, c + i * n,
                                     static_cast<size_t>(n));
                e.kernels.to_half(c + i * n, e.at<half>(z) + (batch * p.rows + row + i) * p.columns + column,
                                  static_cast<size_t>(n), rounding);
            }
        });
    });
}

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

void lower_matmul(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value &x = op.value("x"), &y = op.value("y");
    const mil::MatmulExtents m = mil::matmul_extents(op);
    const Product product{TensorType{DType::fp16, m.batch}.elements(),
                          m.rows,
                          m.inner,
                          m.columns,
                          Transpose{m.transpose_x},
                          Transpose{m.transpose_y},
                          batch_loops(m.batch, x.type.shape, y.type.shape)};
    const Buffer a = l.floats(x), b = l.floats(y);
    add_product(l, product, a, b, -1, l.result(*results[0]));
}

void lower_linear(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value &x = op.value("x"), &weight = op.value("weight");
    for (const auto name : {"weight", "bias"})
        if (op.has(name) && !l.is_constant(op.value(name)))
            op.refuse(name,
                      "'" + std::string(name) + "' must be a constant: use matmul for run-time weights");
    const Product product{1,
                          x.type.elements() / x.type.shape.back(),
                          x.type.shape.back(),
                          weight.type.shape[0],
                          Transpose::no,
                          Transpose::yes,
                          LoopNest<2>({}, {})};
    const Buffer a = l.floats(x), b = l.floats(weight);
    const Buffer bias = op.has("bias") ? l.floats(op.value("bias")) : -1;
    add_product(l, product, a, b, bias, l.result(*results[0]));
}

void softmax_rows(const Kernels& k, float* scores, int64_t rows, int64_t length) {
    const auto n = static_cast<size_t>(length);
    for (float* row = scores; row < scores + rows * length; row += length) {
        const float maximum = k.reduce(Reduction::max, row, n);
        const float sum = k.exp_and_sum(row, maximum, n);
        k.binary_scalar(Binary::real_div, row, sum, row, n);
    }
}

// softmax(query key^T / sqrt(features) + mask) value, in fp32 with one rounding at the end.
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

    const Buffer q = l.floats(op.value("query")), k = l.floats(op.value("key")),
                 v = l.floats(op.value("value"));
    std::vector<Buffer> reads = {q, k, v};
    Shape score_shape = query;
    score_shape.back() = length;
    std::vector<int64_t> mask_strides(score_shape.size(), 0);
    Buffer mask = -1;
    if (masked) {
        mask = l.floats(op.value("attn_mask"));
        mask_strides = broadcast_strides(op.type("attn_mask").shape, score_shape);
        reads.push_back(mask);
    }
    // One score matrix row a position of this nest; the innermost axis stays apart.
    LoopNest<1> mask_rows({score_shape.begin(), score_shape.end() - 1},
                          {{{mask_strides.begin(), mask_strides.end() - 1}}});
    mask_rows.axes.push_back({1, {}});
    const int64_t mask_step = mask_strides.back();

    const Buffer z = l.result(*results[0]);
    const int64_t worker_floats = block * (length + value_features);
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    const Rounding rounding = l.profile().product;
    const float scale = 1.0f / std::sqrt(static_cast<float>(features));
    const int64_t blocks = ceil_divide(rows, block);
    l.step(reads, {z, scratch}, [=](const Execution& e) {
        e.threads.parallel_for(batches * blocks, [&](int64_t task, int worker) {
            const int64_t batch = task / blocks, first = task % blocks * block,
                          m = std::min(block, rows - first);
            float* scores = e.at<float>(scratch) + worker * worker_floats;
            float* sums = scores + block * length;
            gemm(Transpose::no, Transpose::yes, m, length, features, scale,
                 e.at<float>(q) + (batch * rows + first) * features, features,
                 e.at<float>(k) + batch * length * features, features, 0.0f, scores, length);
            if (masked) {
                for (int64_t i = 0; i < m; ++i) {
                    const float* row = e.at<float>(mask) + mask_rows.offsets(batch * rows + first + i)[0];
                    for (int64_t j = 0; j < length; ++j) scores[i * length + j] += row[j * mask_step];
                }
            }
            softmax_rows(e.kernels, scores, m, length);
            gemm(Transpose::no, Transpose::no, m, value_features, length, 1.0f, scores, length,
                 e.at<float>(v) + batch * length * value_features, value_features, 0.0f, sums,
                 value_features);
            e.kernels.to_half(sums, e.at<half>(z) + (batch * rows + first) * value_features,
                              static_cast<size_t>(m * value_features), rounding);
        });
    });
}

}  // namespace

std::span<const LoweringEntry> matmul_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"linear", lower_linear},
        {"matmul", lower_matmul},
        {"scaled_dot_product_attention", lower_attention},
    };
    return table;
}

}  // namespace ane::emulator
