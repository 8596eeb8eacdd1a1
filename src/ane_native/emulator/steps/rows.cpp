// Operations along axes: reductions, softmax, layer_norm. Each sees the tensor as [outer, length, inner], and
// a row is the `length` elements of one outer and one inner position.
#include <algorithm>
#include <cmath>
#include <optional>

#include "../lowering.h"
#include "../strided.h"
#include "copy.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

struct RowView {
    int64_t outer = 1, length = 1, inner = 1;
};

// nullopt where other axes lie between the reduced ones.
std::optional<RowView> adjacent_rows(const Shape& shape, const std::vector<int64_t>& axes) {
    RowView view;
    bool in_rows = false, behind = false;
    for (int64_t i = 0; i < static_cast<int64_t>(shape.size()); ++i) {
        if (shape[i] == 1) continue;
        if (std::ranges::binary_search(axes, i)) {
            if (behind) return std::nullopt;
            in_rows = true;
            view.length *= shape[i];
        } else {
            behind = in_rows;
            (in_rows ? view.inner : view.outer) *= shape[i];
        }
    }
    return view;
}

struct RowOperand {
    Buffer buffer;
    RowView view;
    std::vector<int64_t> permutation;  // empty if the axes already lie together
};

// The operand's rows; brought together by a transposed copy where they do not lie that way.
RowOperand rows_of(Lowering& l, const mil::Value& x, const std::vector<int64_t>& axes) {
    const Shape& shape = x.type.shape;
    if (const auto view = adjacent_rows(shape, axes)) return {l.buffer(x), *view, {}};
    RowOperand operand{l.scratch(x.type.bytes()), {}, {}};
    for (int64_t i = 0; i < x.type.rank(); ++i)
        if (!std::ranges::binary_search(axes, i)) operand.permutation.push_back(i);
    operand.permutation.insert(operand.permutation.end(), axes.begin(), axes.end());
    for (int64_t i = 0; i < x.type.rank(); ++i)
        (std::ranges::binary_search(axes, i) ? operand.view.length : operand.view.outer) *= shape[i];
    add_transpose(l, l.buffer(x), shape, operand.permutation, operand.buffer);
    return operand;
}

float reduce_row(const Kernels& k, Reduction kind, const half* x, int64_t length) {
    alignas(64) float values[tile];
    float result = 0;
    for (int64_t begin = 0; begin < length; begin += tile) {
        const auto n = static_cast<size_t>(std::min(tile, length - begin));
        k.to_float(x + begin, values, n);
        float part = k.reduce(kind, values, n);
        if (begin > 0) {
            const float both[2] = {result, part};
            part = k.reduce(kind, both, 2);
        }
        result = part;
    }
    return result;
}

constexpr Binary pairwise(Reduction kind) {
    return kind == Reduction::sum ? Binary::add : kind == Reduction::max ? Binary::maximum : Binary::minimum;
}

// `n` neighbouring rows at once, adding up one element of each at a time.
void reduce_columns(const Kernels& k, Reduction kind, const half* x, const RowView& view, float* result,
                    size_t n) {
    alignas(64) float values[tile];
    k.to_float(x, result, n);
    for (int64_t i = 1; i < view.length; ++i) {
        k.to_float(x + i * view.inner, values, n);
        k.binary(pairwise(kind), result, values, result, n);
    }
}

template <Reduction kind, bool mean>
void lower_reduce(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& value = op.value("x");
    const RowOperand operand = rows_of(l, value, op.axes("axes", value.type.rank()));
    const RowView view = operand.view;
    const Rounding rounding = l.profile().reduction;
    const Buffer x = operand.buffer, y = l.result(*results[0]);
    constexpr int64_t rows_per_task = 16;
    l.step({x}, {y}, [=](const Execution& e) {
        const auto finish = [&](float* values, half* to, size_t n) {
            if (mean)
                e.kernels.binary_scalar(Binary::real_div, values, static_cast<float>(view.length), values, n);
            e.kernels.to_half(values, to, n, rounding);
        };
        if (view.inner == 1) {
            e.threads.parallel_for(ceil_divide(view.outer, rows_per_task), [&](int64_t task, int) {
                float values[rows_per_task];
                const int64_t first = task * rows_per_task, n = std::min(rows_per_task, view.outer - first);
                for (int64_t i = 0; i < n; ++i)
                    values[i] =
                        reduce_row(e.kernels, kind, e.at<half>(x) + (first + i) * view.length, view.length);
                finish(values, e.at<half>(y) + first, static_cast<size_t>(n));
            });
            return;
        }
        constexpr int64_t columns = 256;
        const int64_t pieces = ceil_divide(view.inner, columns);
        e.threads.parallel_for(view.outer * pieces, [&](int64_t task, int) {
            alignas(64) float values[columns];
            const int64_t outer = task / pieces, begin = task % pieces * columns;
            const auto n = static_cast<size_t>(std::min(columns, view.inner - begin));
            reduce_columns(e.kernels, kind, e.at<half>(x) + outer * view.length * view.inner + begin, view,
                           values, n);
            finish(values, e.at<half>(y) + outer * view.inner + begin, n);
        });
    });
}

constexpr int64_t rows_at_once = 16;

// Calls transform(kernels, row, execution) on each row as fp32 and stores what it leaves there.
template <typename Transform>
void add_row_transform(Lowering& l, const RowView& view, Buffer x, std::vector<Buffer> parameters, Buffer y,
                       const Transform& transform) {
    const int64_t pieces = ceil_divide(view.inner, rows_at_once);
    const int64_t worker_floats = view.length * std::min(view.inner, rows_at_once);
    const int64_t workers = view.outer * pieces == 1 ? 1 : l.workers();  // one task runs as worker 0
    const Buffer scratch = l.scratch(workers * worker_floats * static_cast<int64_t>(sizeof(float)));
    const Rounding rounding = l.profile().elementwise;
    std::vector<Buffer> reads = std::move(parameters);
    reads.push_back(x);
    l.step(reads, {y, scratch}, [=](const Execution& e) {
        e.threads.parallel_for(view.outer * pieces, [&](int64_t task, int worker) {
            float* rows = e.at<float>(scratch) + worker * worker_floats;
            const int64_t begin = task % pieces * rows_at_once,
                          n = std::min(rows_at_once, view.inner - begin);
            const int64_t offset = task / pieces * view.length * view.inner + begin;
            const half* from = e.at<half>(x) + offset;
            half* to = e.at<half>(y) + offset;
            const auto length = static_cast<size_t>(view.length);
            if (view.inner == 1) {
                e.kernels.to_float(from, rows, length);
                transform(e, rows);
                e.kernels.to_half(rows, to, length, rounding);
                return;
            }
            // Neighbouring rows are interleaved in memory: each becomes contiguous, and goes back.
            float across[rows_at_once];
            for (int64_t i = 0; i < view.length; ++i) {
                e.kernels.to_float(from + i * view.inner, across, static_cast<size_t>(n));
                for (int64_t row = 0; row < n; ++row) rows[row * view.length + i] = across[row];
            }
            for (int64_t row = 0; row < n; ++row) transform(e, rows + row * view.length);
            for (int64_t i = 0; i < view.length; ++i) {
                for (int64_t row = 0; row < n; ++row) across[row] = rows[row * view.length + i];
                e.kernels.to_half(across, to + i * view.inner, static_cast<size_t>(n), rounding);
            }
        });
    });
}

void lower_softmax(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    if (x.type.rank() == 0) op.fail("x", "x must have at least one axis");
    const RowOperand operand = rows_of(l, x, {op.axis("axis", x.type.rank())});
    const auto n = static_cast<size_t>(operand.view.length);
    const Buffer y = l.result(*results[0]);
    add_row_transform(l, operand.view, operand.buffer, {}, y, [n](const Execution& e, float* row) {
        const float maximum = e.kernels.reduce(Reduction::max, row, n);
        const float sum = e.kernels.exp_and_sum(row, maximum, n);
        e.kernels.binary_scalar(Binary::real_div, row, sum, row, n);
    });
}

void lower_layer_norm(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    const RowOperand operand = rows_of(l, x, op.axes("axes", x.type.rank()));
    const auto n = static_cast<size_t>(operand.view.length);
    const float epsilon = op.number("epsilon", 1e-5f);
    const Buffer gamma = op.has("gamma") ? l.floats(op.value("gamma")) : -1;
    const Buffer beta = op.has("beta") ? l.floats(op.value("beta")) : -1;
    std::vector<Buffer> parameters;
    for (const Buffer parameter : {gamma, beta})
        if (parameter >= 0) parameters.push_back(parameter);

    const bool permuted = !operand.permutation.empty();
    const Buffer y = l.result(*results[0]);
    const Buffer normalised = permuted ? l.scratch(x.type.bytes()) : y;
    add_row_transform(l, operand.view, operand.buffer, parameters, normalised,
                      [=](const Execution& e, float* row) {
                          const Kernels& k = e.kernels;
                          const auto count = static_cast<float>(n);
                          k.binary_scalar(Binary::sub, row, k.reduce(Reduction::sum, row, n) / count, row, n);
                          const float variance = k.sum_of_squares(row, n) / count;
                          k.binary_scalar(Binary::real_div, row, std::sqrt(variance + epsilon), row, n);
                          if (gamma >= 0) k.binary(Binary::mul, row, e.at<float>(gamma), row, n);
                          if (beta >= 0) k.binary(Binary::add, row, e.at<float>(beta), row, n);
                      });
    if (!permuted) return;
    Shape shape;
    std::vector<int64_t> back(operand.permutation.size());
    for (size_t i = 0; i < back.size(); ++i) {
        shape.push_back(x.type.shape[operand.permutation[i]]);
        back[operand.permutation[i]] = static_cast<int64_t>(i);
    }
    add_transpose(l, normalised, shape, back, y);
}

}  // namespace

std::span<const LoweringEntry> row_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"layer_norm", lower_layer_norm},
        {"reduce_max", lower_reduce<Reduction::max, false>},
        {"reduce_mean", lower_reduce<Reduction::sum, true>},
        {"reduce_min", lower_reduce<Reduction::min, false>},
        {"reduce_sum", lower_reduce<Reduction::sum, false>},
        {"softmax", lower_softmax},
    };
    return table;
}

}  // namespace ane::emulator
