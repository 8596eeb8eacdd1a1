// Sums, softmax and norms of rows of fp16 as the engine computes them: each step rounds to fp16.
#pragma once

#include "emulator/engine_numbers.h"
#include "rows.h"

namespace ane::emulator {

// A sum of up to 4096 fp16 numbers in units of 2^-24.
inline int64_t in_least_units(double sum) { return static_cast<int64_t>(sum * 0x1p24); }

// The exact sum of a row, or of its squares as fp16.
Units exact_sum(const Kernels& k, const half* x, int64_t n, bool is_squared);
// The same as the engine sums a long last axis. How is not known: this order has its statistics
// (docs/emulator.md).
half sum_in_chunks(const Kernels& k, const half* x, int64_t n, bool is_squared, Rounding rounding);

void add_engine_softmax(Lowering& l, const RowStep& step);
// y = (x - mean) / sqrt(variance + epsilon), the squares and the last sum not being rounded; y may be x.
void engine_normalize(const Kernels& k, const half* x, half* y, int64_t n, float epsilon, Rounding rounding);

// Adds a step that calls work(execution, x, y, outer) on each row x of fp16 for its result y, which may be x.
template <typename Work>
void add_half_rows(Lowering& l, const RowStep& s, const Work& work) {
    if (s.view.inner == 1)
        return add_packed_rows(l, s, [=](const Piece& p, const half* from, half* to, int64_t row) {
            work(p.execution, from, to, row);
        });
    const int64_t length = s.view.length, inner = s.view.inner, pieces = ceil_divide(inner, rows_at_once);
    const int64_t worker_halves = aligned(length * rows_at_once);
    const Buffer scratch = l.scratch(l.workers() * worker_halves * static_cast<int64_t>(sizeof(half)));
    std::vector<Buffer> reads = s.parameters;
    reads.push_back(s.x);
    l.step(reads, {s.y, scratch}, [=, outer = s.view.outer, x = s.x, y = s.y](const Execution& e) {
        e.threads.parallel_for(outer * pieces, [&](int64_t task, int worker) {
            half* rows = e.at<half>(scratch) + worker * worker_halves;
            const int64_t begin = task % pieces * rows_at_once, n = std::min(rows_at_once, inner - begin);
            const int64_t first = task / pieces * length * inner + begin;
            const half* from = e.at<half>(x) + first;
            half* to = e.at<half>(y) + first;
            for (int64_t i = 0; i < length; ++i)
                for (int64_t row = 0; row < n; ++row) rows[row * length + i] = from[i * inner + row];
            for (int64_t row = 0; row < n; ++row)
                work(e, rows + row * length, rows + row * length, task / pieces);
            for (int64_t i = 0; i < length; ++i)
                for (int64_t row = 0; row < n; ++row) to[i * inner + row] = rows[row * length + i];
        });
    });
}

}  // namespace ane::emulator
