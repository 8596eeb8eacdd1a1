#include <cmath>

#include "copy.h"
#include "rows.h"

namespace ane::emulator {

namespace {

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

}  // namespace

RowOperand rows_of(Lowering& l, const mil::Value& x, const std::vector<int64_t>& axes) {
    const Shape& shape = x.type.shape;
    if (const auto view = adjacent_rows(shape, axes)) return {l.buffer(x), *view, {}};
    RowOperand operand{l.scratch(x.type.bytes()), {}, {}};
    for (int64_t i = 0; i < x.type.rank(); ++i)
        if (!std::ranges::binary_search(axes, i)) operand.permutation.push_back(i);
    operand.permutation.insert(operand.permutation.end(), axes.begin(), axes.end());
    for (int64_t i = 0; i < x.type.rank(); ++i)
        (std::ranges::binary_search(axes, i) ? operand.view.length : operand.view.outer) *= shape[i];
    add_transpose(l, l.buffer(x), x.type, operand.permutation, operand.buffer);
    return operand;
}

void softmax(const Kernels& k, float* row, size_t n) {
    k.binary_scalar(Binary::mul, row, 1.0f / k.exponentials(row, row, n).sum, row, n);
}

void add_softmax(Lowering& l, const RowStep& step) {
    const auto n = static_cast<size_t>(step.view.length);
    if (step.view.inner > 1)
        return add_row_step(l, step,
                            [n](const Execution& e, float* row, int64_t) { softmax(e.kernels, row, n); });
    const bool nan_is_zero = l.profile().elementwise.nan_is_zero;
    constexpr int64_t elements_at_once = 1024;
    const int64_t length = step.view.length, count = step.view.outer * length;
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

void normalize(const Kernels& k, float* row, size_t n, float epsilon) {
    const auto count = static_cast<float>(n);
    k.binary_scalar(Binary::sub, row, k.reduce(Reduction::sum, row, n) / count, row, n);
    const float variance = k.sum_of_squares(row, n) / count;
    k.binary_scalar(Binary::real_div, row, std::sqrt(variance + epsilon), row, n);
}

}  // namespace ane::emulator
