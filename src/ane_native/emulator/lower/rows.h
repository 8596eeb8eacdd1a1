// Work along axes: a tensor seen as [outer, length, inner], where a row is the `length` elements of one outer
// and one inner position.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "emulator/lowering.h"
#include "emulator/transfer.h"

namespace ane::emulator {

struct RowView {
    int64_t outer = 1, length = 1, inner = 1;
};

struct RowOperand {
    Buffer buffer;
    RowView view;
    std::vector<int64_t> permutation;  // empty if the axes already lie together
    bool along_last_axis = false;      // of the tensor, which is longer than 1
};

// The operand's rows; brought together by a transposed copy where they do not lie that way.
RowOperand rows_of(Lowering& l, const mil::Value& x, const std::vector<int64_t>& axes);

// The sum, maximum or minimum of a row, or of its squares as fp16, in fp32.
float reduce_row(const Kernels& k, Reduction kind, const half* x, int64_t length, Numbers numbers,
                 bool is_squared);

// row <- exp(row - maximum) / their sum
void softmax(const Kernels& k, float* row, size_t n);

// row <- (row - mean) / sqrt(variance + epsilon)
void normalize(const Kernels& k, float* row, size_t n, float epsilon);

constexpr int64_t rows_at_once = 16;

struct RowStep {
    RowView view;
    Buffer x, y;
    std::vector<Buffer> parameters = {};  // what else the work reads
    bool to_one = false;                  // of each row only the first element is kept
    int64_t extra = 0;                    // floats behind each row for the work to use
    std::optional<Rounding> rounding = {};
    bool along_last_axis = false;
};

void add_softmax(Lowering& l, const RowStep& step);

// Calls compute(piece, row, result, index) on each row of fp16, for rows that lie one after the other and
// stay as long: they come from what computes them, and go on to what reads the result, while they are in the
// cache.
template <typename Compute>
void add_packed_rows(Lowering& l, const RowStep& s, const Compute& compute) {
    const int64_t length = s.view.length, count = s.view.outer * length;
    l.step({.count = count,
            .operands = {{s.x, sizeof(half), packed_walk(count)}},
            .result = {s.y, sizeof(half), packed_walk(count)},
            .compute =
                [=](const Piece& p) {
                    for (int64_t i = 0; i < p.count; i += length)
                        compute(p, p.array<half>(0) + i, p.to<half>() + i, (p.first + i) / length);
                },
            .row = length,
            .scratch_floats = length + s.extra,
            .also_read = s.parameters});
}

// Adds a step that calls work(execution, row, outer) on each row as fp32 and stores what it leaves there.
template <typename Work>
void add_row_step(Lowering& l, RowStep s, const Work& work) {
    const Rounding rounding = s.rounding.value_or(Rounding{l.profile().numbers});
    if (s.view.inner == 1 && !s.to_one)
        return add_packed_rows(l, s,
                               [=, n = static_cast<size_t>(s.view.length)](const Piece& p, const half* from,
                                                                           half* to, int64_t row) {
                                   p.kernels.widen(from, p.scratch, n, rounding.numbers);
                                   work(p.execution, p.scratch, row);
                                   p.kernels.to_half(p.scratch, to, n, rounding);
                               });
    const int64_t pitch = s.view.length + s.extra, kept = s.to_one ? 1 : s.view.length;
    const int64_t worker_floats = pitch * std::min(s.view.inner, rows_at_once);
    const int64_t pieces = ceil_divide(s.view.inner, rows_at_once);
    const int64_t workers = s.view.outer * pieces == 1 ? 1 : l.workers();  // one task runs as worker 0
    const Buffer scratch = l.scratch(workers * worker_floats * static_cast<int64_t>(sizeof(float)));
    std::vector<Buffer> reads = s.parameters;
    reads.push_back(s.x);
    l.step(reads, {s.y, scratch}, [=, view = s.view, x = s.x, y = s.y](const Execution& e) {
        e.threads.parallel_for(view.outer * pieces, [&](int64_t task, int worker) {
            float* rows = e.at<float>(scratch) + worker * worker_floats;
            const int64_t outer = task / pieces, begin = task % pieces * rows_at_once,
                          n = std::min(rows_at_once, view.inner - begin);
            const half* from = e.at<half>(x) + outer * view.length * view.inner + begin;
            half* to = e.at<half>(y) + outer * kept * view.inner + begin;
            if (view.inner == 1) {
                e.kernels.widen(from, rows, static_cast<size_t>(view.length), rounding.numbers);
                work(e, rows, outer);
                e.kernels.to_half(rows, to, static_cast<size_t>(kept), rounding);
                return;
            }
            // Neighboring rows are interleaved in memory: each becomes contiguous, and goes back.
            float across[rows_at_once];
            for (int64_t i = 0; i < view.length; ++i) {
                e.kernels.widen(from + i * view.inner, across, static_cast<size_t>(n), rounding.numbers);
                for (int64_t row = 0; row < n; ++row) rows[row * pitch + i] = across[row];
            }
            for (int64_t row = 0; row < n; ++row) work(e, rows + row * pitch, outer);
            for (int64_t i = 0; i < kept; ++i) {
                for (int64_t row = 0; row < n; ++row) across[row] = rows[row * pitch + i];
                e.kernels.to_half(across, to + i * view.inner, static_cast<size_t>(n), rounding);
            }
        });
    });
}

}  // namespace ane::emulator
