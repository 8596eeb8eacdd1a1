// Reductions, softmax and norms.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "copy.h"
#include "emulator/transfer.h"
#include "engine_rows.h"

namespace ane::emulator {

namespace {

// The terms of a reduction: x, its magnitudes, or the squares of x times the factor of its row. Magnitudes,
// products and squares are rounded to fp16 as if they were stored.
struct Terms {
    RowOperand x;
    bool is_magnitude = false, is_squared = false;
    std::optional<Buffer> factors = {};  // [outer, inner]
};

// A value's producer, if that is one of two operations.
const mil::Operation* producer_of(Lowering& l, const mil::Value& x, std::string_view op,
                                  std::string_view other = {}) {
    const mil::Operation* producer = l.fuses() ? l.producer(x) : nullptr;
    return producer && (producer->op == op || producer->op == other) ? producer : nullptr;
}

bool is_one_per_row(const Shape& shape, Shape of, const std::vector<int64_t>& axes) {
    for (const int64_t axis : axes) of[axis] = 1;
    return shape == of;
}

Terms sum_terms(Lowering& l, const mil::Value& x, const std::vector<int64_t>& axes) {
    const mil::Operation* square = producer_of(l, x, "mul", "square");
    if (!square) return {rows_of(l, x, axes)};
    const mil::OpView op = l.view(*square);
    const mil::Value& root = op.value("x");
    if (root.type.shape != x.type.shape || (square->op == "mul" && &op.value("y") != &root))
        return {rows_of(l, x, axes)};
    Terms terms{.x = rows_of(l, root, axes), .is_squared = true};
    const mil::Operation* product = terms.x.view.inner > 1 ? producer_of(l, root, "mul") : nullptr;
    if (!product) return terms;
    const mil::OpView scaling = l.view(*product);
    const mil::Value &base = scaling.value("x"), &factor = scaling.value("y");
    if (base.type.shape != root.type.shape || !is_one_per_row(factor.type.shape, base.type.shape, axes))
        return terms;
    terms.x.buffer = l.buffer(base);
    terms.factors = l.buffer(factor);
    return terms;
}

Terms extreme_terms(Lowering& l, Reduction kind, const mil::Value& x, const std::vector<int64_t>& axes) {
    Terms terms{rows_of(l, x, axes)};
    const mil::Operation* magnitude = kind == Reduction::max ? producer_of(l, x, "abs") : nullptr;
    if (!magnitude || terms.x.view.inner == 1) return terms;
    terms.is_magnitude = true;
    terms.x.buffer = l.buffer(l.view(*magnitude).value("x"));
    return terms;
}

std::vector<Buffer> reads_of(const Terms& terms) {
    std::vector<Buffer> reads{terms.x.buffer};
    if (terms.factors) reads.push_back(*terms.factors);
    return reads;
}

// The engine's sums of rows, and of columns where other elements lie between those of a row.
template <bool mean>
void lower_engine_sum(Lowering& l, const Terms& terms, Buffer y) {
    const RowView view = terms.x.view;
    const bool in_chunks = !mean && terms.x.along_last_axis && view.length > l.profile().longest_exact_sum;
    const Rounding rounding = l.profile().reduction;
    const int64_t divisor = mean ? view.length : 1;
    constexpr int64_t columns = 64, most_exact_rows = 4096;
    const int64_t pieces = ceil_divide(view.inner, columns);
    l.step(
        reads_of(terms), {y},
        [=, x = terms.x.buffer, factors = terms.factors, is_squared = terms.is_squared](const Execution& e) {
            const Kernels& k = e.kernels;
            if (view.inner == 1)
                return e.threads.parallel_for(view.outer, [&](int64_t row, int) {
                    const half* from = e.at<half>(x) + row * view.length;
                    e.at<half>(y)[row] = in_chunks ? sum_in_chunks(k, from, view.length, is_squared, rounding)
                                                   : engine_half(exact_sum(k, from, view.length, is_squared),
                                                                 divisor, rounding);
                });
            e.threads.parallel_for(view.outer * pieces, [&](int64_t task, int) {
                const int64_t outer = task / pieces, begin = task % pieces * columns;
                const auto n = static_cast<size_t>(std::min(columns, view.inner - begin));
                const half* from = e.at<half>(x) + outer * view.length * view.inner + begin;
                std::array<double, columns> part{};
                std::array<Units, columns> sums{};
                std::array<half, columns> products;
                const auto multiply = [&](const half* a, const half* b) {
                    k.binary_halves(Binary::mul, a, b, products.data(), n, Numbers::engine);
                    return products.data();
                };
                for (int64_t row = 0; row < view.length; ++row, from += view.inner) {
                    const half* term = from;
                    if (factors) term = multiply(term, e.at<half>(*factors) + outer * view.inner + begin);
                    if (is_squared) term = multiply(term, term);
                    k.add_exactly(term, part.data(), n);
                    if (row % most_exact_rows != most_exact_rows - 1 && row + 1 != view.length) continue;
                    for (size_t i = 0; i < n; ++i) sums[i] += in_least_units(std::exchange(part[i], 0.0));
                }
                for (size_t i = 0; i < n; ++i)
                    e.at<half>(y)[outer * view.inner + begin + static_cast<int64_t>(i)] =
                        engine_half(sums[i], divisor, rounding);
            });
        });
}

template <Reduction kind, bool mean>
void lower_reduce(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& value = op.value("x");
    const std::vector<int64_t> axes = op.axes("axes", value.type.rank());
    const Terms terms =
        kind == Reduction::sum ? sum_terms(l, value, axes) : extreme_terms(l, kind, value, axes);
    const RowView view = terms.x.view;
    const Rounding rounding = l.profile().reduction;
    const Buffer y = l.result(*results[0]);
    if (kind == Reduction::sum && l.profile().is_engine()) return lower_engine_sum<mean>(l, terms, y);
    constexpr int64_t rows_per_task = 16;
    l.step(reads_of(terms), {y}, [=, x = terms.x.buffer, terms = terms](const Execution& e) {
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
                                           view.length, rounding.numbers, terms.is_squared);
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
            if (terms.is_squared) {
                alignas(64) float factors[columns] = {};
                if (terms.factors)
                    e.kernels.to_float(e.at<half>(*terms.factors) + outer * view.inner + begin, factors, n);
                e.kernels.sum_square_columns(from, terms.factors ? factors : nullptr, stride, rows, values,
                                             n);
            } else if (terms.is_magnitude)
                e.kernels.largest_magnitude_columns(from, stride, rows, values, n, rounding.numbers);
            else
                e.kernels.reduce_columns(kind, from, stride, rows, values, n, rounding.numbers);
            finish(values, e.at<half>(y) + outer * view.inner + begin, n);
        });
    });
}

void lower_softmax(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    if (x.type.rank() == 0) op.fail("x", "x must have at least one axis");
    const RowOperand operand = rows_of(l, x, {op.axis("axis", x.type.rank())});
    add_softmax(l, {.view = operand.view,
                    .x = operand.buffer,
                    .y = l.result(*results[0]),
                    .along_last_axis = operand.along_last_axis});
}

void lower_layer_norm(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    const RowOperand operand = rows_of(l, x, op.axes("axes", x.type.rank()));
    const auto n = static_cast<size_t>(operand.view.length);
    const float epsilon = op.number("epsilon");
    const bool is_engine = l.profile().is_engine();
    const auto parameter = [&](const char* name) {
        const auto at = is_engine ? &Lowering::buffer : &Lowering::floats;
        return op.has(name) ? std::optional((l.*at)(op.value(name))) : std::nullopt;
    };
    const auto gamma = parameter("gamma"), beta = parameter("beta");
    std::vector<Buffer> parameters;
    for (const auto& each : {gamma, beta})
        if (each) parameters.push_back(*each);

    const bool permuted = !operand.permutation.empty();
    const Buffer y = l.result(*results[0]);
    const Buffer normalized = permuted ? l.scratch(x.type.bytes()) : y;
    const RowStep step{.view = operand.view, .x = operand.buffer, .y = normalized, .parameters = parameters};
    if (is_engine)
        add_half_rows(
            l, step,
            [=, rounding = l.profile().reduction](const Execution& e, const half* from, half* to, int64_t) {
                engine_normalize(e.kernels, from, to, static_cast<int64_t>(n), epsilon, rounding);
                const auto apply = [&](Binary kind, Buffer by) {
                    e.kernels.binary_halves(kind, to, e.at<half>(by), to, n, Numbers::engine);
                };
                if (gamma) apply(Binary::mul, *gamma);
                if (beta) apply(Binary::add, *beta);
            });
    else
        add_row_step(l, step, [=](const Execution& e, float* row, int64_t) {
            normalize(e.kernels, row, n, epsilon);
            if (gamma) e.kernels.binary(Binary::mul, row, e.at<float>(*gamma), row, n);
            if (beta) e.kernels.binary(Binary::add, row, e.at<float>(*beta), row, n);
        });
    if (!permuted) return;
    Shape shape;
    std::vector<int64_t> back(operand.permutation.size());
    for (size_t i = 0; i < back.size(); ++i) {
        shape.push_back(x.type.shape[operand.permutation[i]]);
        back[operand.permutation[i]] = static_cast<int64_t>(i);
    }
    add_transpose(l, normalized, {DType::fp16, shape}, back, y);
}

// Reduces a row to its first element.
using RowFunction = void (*)(const Kernels& k, float* row, size_t n);

void l1_norm(const Kernels& k, float* row, size_t n) {
    k.unary(Unary::abs, row, {}, row, n);
    row[0] = k.reduce(Reduction::sum, row, n);
}

void sum_of_squares(const Kernels& k, float* row, size_t n) { row[0] = k.sum_of_squares(row, n); }

void l2_norm(const Kernels& k, float* row, size_t n) { row[0] = std::sqrt(k.sum_of_squares(row, n)); }

void log_sum(const Kernels& k, float* row, size_t n) {
    row[0] = k.reduce(Reduction::sum, row, n);
    k.unary(Unary::log, row, {}, row, 1);
}

void log_sum_exp(const Kernels& k, float* row, size_t n) {
    const auto [maximum, sum] = k.exponentials(row, row, n);
    row[0] = sum;
    k.unary(Unary::log, row, {}, row, 1);
    row[0] += maximum;
}

template <RowFunction function>
void lower_row_function(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    const RowOperand operand = rows_of(l, x, op.axes("axes", x.type.rank()));
    const auto n = static_cast<size_t>(operand.view.length);
    add_row_step(l,
                 {.view = operand.view,
                  .x = operand.buffer,
                  .y = l.result(*results[0]),
                  .to_one = true,
                  .rounding = l.profile().reduction},
                 [n](const Execution& e, float* row, int64_t) { function(e.kernels, row, n); });
}

// A constant for each channel, or none.
std::vector<float> per_channel(const mil::OpView& op, std::string_view argument) {
    return op.has(argument) ? op.numbers(argument) : std::vector<float>();
}

// x [batch, channels, ...], a row being one channel of one element of the batch.
RowView channel_rows(const Shape& shape) {
    const int64_t rows = shape[0] * shape[1];
    return {rows, std::accumulate(shape.begin() + 2, shape.end(), int64_t{1}, std::multiplies<>()), 1};
}

// Calls normalize(kernels, row, n, channel) on each channel, then applies gamma and beta.
template <typename Normalize>
void add_channel_norm(Lowering& l, const mil::OpView& op, Results results, const Normalize& normalize) {
    const mil::Value& x = op.value("x");
    const RowView view = channel_rows(x.type.shape);
    const auto n = static_cast<size_t>(view.length);
    add_row_step(l, {.view = view, .x = l.buffer(x), .y = l.result(*results[0])},
                 [=, channels = x.type.shape[1], gamma = per_channel(op, "gamma"),
                  beta = per_channel(op, "beta")](const Execution& e, float* row, int64_t outer) {
                     const auto channel = static_cast<size_t>(outer % channels);
                     normalize(e.kernels, row, n, channel);
                     if (!gamma.empty()) e.kernels.binary_scalar(Binary::mul, row, gamma[channel], row, n);
                     if (!beta.empty()) e.kernels.binary_scalar(Binary::add, row, beta[channel], row, n);
                 });
}

void lower_batch_norm(Lowering& l, const mil::OpView& op, Results results) {
    const float epsilon = op.number("epsilon");
    add_channel_norm(l, op, results,
                     [epsilon, mean = op.numbers("mean"), variance = op.numbers("variance")](
                         const Kernels& k, float* row, size_t n, size_t channel) {
                         k.binary_scalar(Binary::sub, row, mean[channel], row, n);
                         k.binary_scalar(Binary::real_div, row, std::sqrt(variance[channel] + epsilon), row,
                                         n);
                     });
}

void lower_instance_norm(Lowering& l, const mil::OpView& op, Results results) {
    const float epsilon = op.number("epsilon");
    if (l.profile().is_engine()) {
        const mil::Value& x = op.value("x");
        std::vector<Buffer> parameters;
        const auto parameter = [&](const char* name) {
            if (!op.has(name)) return std::optional<Buffer>();
            parameters.push_back(l.buffer(op.value(name)));
            return std::optional(parameters.back());
        };
        const auto gamma = parameter("gamma"), beta = parameter("beta");
        const RowView view = channel_rows(x.type.shape);
        return add_half_rows(
            l, {.view = view, .x = l.buffer(x), .y = l.result(*results[0]), .parameters = parameters},
            [=, channels = x.type.shape[1], rounding = l.profile().reduction](
                const Execution& e, const half* from, half* to, int64_t outer) {
                engine_normalize(e.kernels, from, to, view.length, epsilon, rounding);
                const auto apply = [&](Binary kind, Buffer by) {
                    e.kernels.binary_halves(kind, to, {e.at<half>(by) + outer % channels, 0}, to,
                                            static_cast<size_t>(view.length), Numbers::engine);
                };
                if (gamma) apply(Binary::mul, *gamma);
                if (beta) apply(Binary::add, *beta);
            });
    }
    add_channel_norm(l, op, results, [epsilon](const Kernels& k, float* row, size_t n, size_t) {
        normalize(k, row, n, epsilon);
    });
}

// Over the last three axes.
void lower_l2_norm(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    const float epsilon = op.number("epsilon");
    const int64_t rank = x.type.rank();
    const RowOperand operand = rows_of(l, x, {rank - 3, rank - 2, rank - 1});
    const auto n = static_cast<size_t>(operand.view.length);
    add_row_step(l, {.view = operand.view, .x = operand.buffer, .y = l.result(*results[0])},
                 [=](const Execution& e, float* row, int64_t) {
                     const float norm = std::sqrt(e.kernels.sum_of_squares(row, n) + epsilon);
                     e.kernels.binary_scalar(Binary::real_div, row, norm, row, n);
                 });
}

// x / (k + alpha / size * sum(x^2))^beta, the sum over `size` channels around each.
void lower_local_response_norm(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    const int64_t size = op.integer("size"), channels = x.type.shape[1];
    if (size % 2 == 0)
        op.refuse("size",
                  "the middle of an even number of channels is not documented, so the emulator does not "
                  "run it: give an odd size");
    const float alpha = op.number("alpha"), beta = op.number("beta"), offset = op.number("k");
    const RowOperand operand = rows_of(l, x, {1});
    const auto n = static_cast<size_t>(channels);
    add_row_step(
        l, {.view = operand.view, .x = operand.buffer, .y = l.result(*results[0]), .extra = channels},
        [=](const Execution& e, float* row, int64_t) {
            float* divisor = row + channels;
            for (int64_t i = 0; i < channels; ++i) {
                const int64_t first = std::max<int64_t>(0, i - size / 2),
                              last = std::min(channels, i + size / 2 + 1);
                const float sum = e.kernels.sum_of_squares(row + first, static_cast<size_t>(last - first));
                divisor[i] = offset + alpha / static_cast<float>(size) * sum;
            }
            e.kernels.binary_scalar(Binary::pow, divisor, beta, divisor, n);
            e.kernels.binary(Binary::real_div, row, divisor, row, n);
        });
}

}  // namespace

std::span<const LoweringEntry> reduction_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"batch_norm", lower_batch_norm},
        {"instance_norm", lower_instance_norm},
        {"l2_norm", lower_l2_norm},
        {"layer_norm", lower_layer_norm},
        {"local_response_norm", lower_local_response_norm},
        {"reduce_l1_norm", lower_row_function<l1_norm>},
        {"reduce_l2_norm", lower_row_function<l2_norm>},
        {"reduce_log_sum", lower_row_function<log_sum>},
        {"reduce_log_sum_exp", lower_row_function<log_sum_exp>},
        {"reduce_max", lower_reduce<Reduction::max, false>},
        {"reduce_mean", lower_reduce<Reduction::sum, true>},
        {"reduce_min", lower_reduce<Reduction::min, false>},
        {"reduce_sum", lower_reduce<Reduction::sum, false>},
        {"reduce_sum_square", lower_row_function<sum_of_squares>},
        {"softmax", lower_softmax},
    };
    return table;
}

}  // namespace ane::emulator
