// Sums and extremes along axes, softmax, layer_norm.
#include <algorithm>

#include "copy.h"
#include "rows.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

// What a sum is taken of: x, or its squares as fp16.
struct Summand {
    const mil::Value& x;
    bool is_squared;
};

// A sum of squares, which norms take, squares each element itself: nobody may need the squares in memory.
Summand summand(Lowering& l, const mil::Value& x) {
    const mil::Operation* producer = l.fuses() ? l.producer(x) : nullptr;
    if (producer && (producer->op == "mul" || producer->op == "square")) {
        const mil::OpView op = l.view(*producer);
        const mil::Value& factor = op.value("x");
        if (factor.type.shape == x.type.shape && (producer->op == "square" || &op.value("y") == &factor))
            return {factor, true};
    }
    return {x, false};
}

float reduce_row(const Kernels& k, Reduction kind, const half* x, int64_t length,
                 std::optional<bool> squares_nan_is_zero) {
    alignas(64) float values[tile];
    alignas(64) half squares[tile];
    float result = 0;
    for (int64_t begin = 0; begin < length; begin += tile) {
        const auto n = static_cast<size_t>(std::min(tile, length - begin));
        const half* from = x + begin;
        if (squares_nan_is_zero) {
            k.unary_halves(Unary::square, from, {}, squares, n, *squares_nan_is_zero);
            from = squares;
        }
        k.to_float(from, values, n);
        float part = k.reduce(kind, values, n);
        if (begin > 0) {
            const float both[2] = {result, part};
            part = k.reduce(kind, both, 2);
        }
        result = part;
    }
    return result;
}

template <Reduction kind, bool mean>
void lower_reduce(Lowering& l, const mil::OpView& op, Results results) {
    const auto [value, is_squared] =
        kind == Reduction::sum ? summand(l, op.value("x")) : Summand{op.value("x"), false};
    const RowOperand operand = rows_of(l, value, op.axes("axes", value.type.rank()));
    const RowView view = operand.view;
    const Rounding rounding = l.profile().reduction;
    const bool nan_is_zero = l.profile().elementwise.nan_is_zero;
    const Buffer x = operand.buffer, y = l.result(*results[0]);
    constexpr int64_t rows_per_task = 16;
    l.step({x}, {y}, [=, squares = is_squared](const Execution& e) {
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
                    values[i] = reduce_row(e.kernels, kind, e.at<half>(x) + (first + i) * view.length,
                                           view.length, squares ? std::optional(nan_is_zero) : std::nullopt);
                finish(values, e.at<half>(y) + first, static_cast<size_t>(n));
            });
            return;
        }
        constexpr int64_t columns = 64;
        const int64_t pieces = ceil_divide(view.inner, columns);
        e.threads.parallel_for(view.outer * pieces, [&](int64_t task, int) {
            alignas(64) float values[columns];
            const int64_t outer = task / pieces, begin = task % pieces * columns;
            const auto n = static_cast<size_t>(std::min(columns, view.inner - begin));
            const half* from = e.at<half>(x) + outer * view.length * view.inner + begin;
            const auto stride = static_cast<size_t>(view.inner), rows = static_cast<size_t>(view.length);
            if (squares)
                e.kernels.sum_square_columns(from, stride, rows, values, n, nan_is_zero);
            else
                e.kernels.reduce_columns(kind, from, stride, rows, values, n);
            finish(values, e.at<half>(y) + outer * view.inner + begin, n);
        });
    });
}

void lower_softmax(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    if (x.type.rank() == 0) op.fail("x", "x must have at least one axis");
    const RowOperand operand = rows_of(l, x, {op.axis("axis", x.type.rank())});
    const auto n = static_cast<size_t>(operand.view.length);
    const RowStep step{operand.view, operand.buffer, l.result(*results[0])};
    if (operand.view.inner > 1)
        return add_row_step(l, step,
                            [n](const Execution& e, float* row, int64_t) { softmax(e.kernels, row, n); });
    const bool nan_is_zero = l.profile().elementwise.nan_is_zero;
    constexpr int64_t elements_at_once = 1024;
    const int64_t length = operand.view.length, count = operand.view.outer * length;
    const int64_t at_once = std::clamp<int64_t>(elements_at_once / length, 1, most_softmax_rows) * length;
    l.step({.count = count,
            .operands = {{step.x, sizeof(half), packed_walk(count)}},
            .result = {step.y, sizeof(half), packed_walk(count)},
            .compute =
                [=](const Piece& p) {
                    for (int64_t i = 0; i < p.count; i += at_once)
                        p.kernels.softmax(p.array<half>(0) + i,
                                          static_cast<size_t>(std::min(at_once, p.count - i) / length), n,
                                          p.scratch, p.to<half>() + i, nan_is_zero);
                },
            .row = length,
            .scratch_floats = at_once});
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
    add_row_step(l, {.view = operand.view, .x = operand.buffer, .y = normalised, .parameters = parameters},
                 [=](const Execution& e, float* row, int64_t) {
                     normalise(e.kernels, row, n, epsilon);
                     if (gamma >= 0) e.kernels.binary(Binary::mul, row, e.at<float>(gamma), row, n);
                     if (beta >= 0) e.kernels.binary(Binary::add, row, e.at<float>(beta), row, n);
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
