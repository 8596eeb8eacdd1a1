// Norms along axes, and normalisation by channels and neighbourhoods.
#include <cmath>
#include <numeric>

#include "rows.h"

namespace ane::emulator {

namespace {

// One number from a row, left in its first element.
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
    const float maximum = k.reduce(Reduction::max, row, n);
    row[0] = k.exp_and_sum(row, maximum, n);
    k.unary(Unary::log, row, {}, row, 1);
    row[0] += maximum;
}

template <RowFunction function>
void lower_reduce(Lowering& l, const mil::OpView& op, Results results) {
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

// Calls normalise(kernels, row, n, channel) on each channel, then applies gamma and beta.
template <typename Normalise>
void add_channel_norm(Lowering& l, const mil::OpView& op, Results results, const Normalise& normalise) {
    const mil::Value& x = op.value("x");
    const RowView view = channel_rows(x.type.shape);
    const auto n = static_cast<size_t>(view.length);
    add_row_step(l, {.view = view, .x = l.buffer(x), .y = l.result(*results[0])},
                 [=, channels = x.type.shape[1], gamma = per_channel(op, "gamma"),
                  beta = per_channel(op, "beta")](const Execution& e, float* row, int64_t outer) {
                     const auto channel = static_cast<size_t>(outer % channels);
                     normalise(e.kernels, row, n, channel);
                     if (!gamma.empty()) e.kernels.binary_scalar(Binary::mul, row, gamma[channel], row, n);
                     if (!beta.empty()) e.kernels.binary_scalar(Binary::add, row, beta[channel], row, n);
                 });
}

void lower_batch_norm(Lowering& l, const mil::OpView& op, Results results) {
    const float epsilon = op.number("epsilon", 1e-5f);
    add_channel_norm(l, op, results,
                     [epsilon, mean = op.numbers("mean"), variance = op.numbers("variance")](
                         const Kernels& k, float* row, size_t n, size_t channel) {
                         k.binary_scalar(Binary::sub, row, mean[channel], row, n);
                         k.binary_scalar(Binary::real_div, row, std::sqrt(variance[channel] + epsilon), row,
                                         n);
                     });
}

void lower_instance_norm(Lowering& l, const mil::OpView& op, Results results) {
    const float epsilon = op.number("epsilon", 1e-5f);
    add_channel_norm(l, op, results, [epsilon](const Kernels& k, float* row, size_t n, size_t) {
        normalise(k, row, n, epsilon);
    });
}

// Over the last three axes.
void lower_l2_norm(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& x = op.value("x");
    const float epsilon = op.number("epsilon", 1e-6f);
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
    const float alpha = op.number("alpha", 1e-4f), beta = op.number("beta", 0.75f),
                offset = op.number("k", 1.0f);
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

std::span<const LoweringEntry> norm_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"batch_norm", lower_batch_norm},
        {"instance_norm", lower_instance_norm},
        {"l2_norm", lower_l2_norm},
        {"local_response_norm", lower_local_response_norm},
        {"reduce_l1_norm", lower_reduce<l1_norm>},
        {"reduce_l2_norm", lower_reduce<l2_norm>},
        {"reduce_log_sum", lower_reduce<log_sum>},
        {"reduce_log_sum_exp", lower_reduce<log_sum_exp>},
        {"reduce_sum_square", lower_reduce<sum_of_squares>},
    };
    return table;
}

}  // namespace ane::emulator
