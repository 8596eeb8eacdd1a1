#include <cmath>

#include "copy.h"
#include "engine_rows.h"

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
    const bool along_last_axis = !axes.empty() && axes.back() + 1 == x.type.rank() && shape.back() > 1;
    if (const auto view = adjacent_rows(shape, axes)) return {l.buffer(x), *view, {}, along_last_axis};
    RowOperand operand{l.scratch(x.type.bytes()), {}, {}, along_last_axis};
    for (int64_t i = 0; i < x.type.rank(); ++i)
        if (!std::ranges::binary_search(axes, i)) operand.permutation.push_back(i);
    operand.permutation.insert(operand.permutation.end(), axes.begin(), axes.end());
    for (int64_t i = 0; i < x.type.rank(); ++i)
        (std::ranges::binary_search(axes, i) ? operand.view.length : operand.view.outer) *= shape[i];
    add_transpose(l, l.buffer(x), x.type, operand.permutation, operand.buffer);
    return operand;
}

float reduce_row(const Kernels& k, Reduction kind, const half* x, int64_t length, Numbers numbers,
                 bool is_squared) {
    alignas(64) float values[tile];
    alignas(64) half squares[tile];
    float result = 0;
    for (int64_t begin = 0; begin < length; begin += tile) {
        const auto n = static_cast<size_t>(std::min(tile, length - begin));
        const half* from = x + begin;
        if (is_squared) {
            k.binary_halves(Binary::mul, from, from, squares, n, numbers);
            from = squares;
        }
        k.widen(from, values, n, numbers);
        float part = k.reduce(kind, values, n);
        if (begin > 0) {
            const float both[2] = {result, part};
            part = k.reduce(kind, both, 2);
        }
        result = part;
    }
    return result;
}

void softmax(const Kernels& k, float* row, size_t n) {
    k.binary_scalar(Binary::mul, row, 1.0f / k.exponentials(row, row, n).sum, row, n);
}

void add_softmax(Lowering& l, const RowStep& step) {
    if (l.profile().is_engine()) return add_engine_softmax(l, step);
    const auto n = static_cast<size_t>(step.view.length);
    if (step.view.inner > 1)
        return add_row_step(l, step,
                            [n](const Execution& e, float* row, int64_t) { softmax(e.kernels, row, n); });
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
                                          p.scratch, p.to<half>() + i);
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
