// The right operand is packed once, by all threads, into panels that the SIMD level's kernel reads in order.
// Then each task multiplies some rows by some columns, and its sums stay in the cache until they are
// complete.
#include "product.h"

#include <algorithm>
#include <functional>
#include <memory>

#include "cpu/simd/kernels.h"
#include "thread_pool.h"

namespace ane::cpu {

namespace {

constexpr int64_t task_rows = 96;          // whole blocks of every kernel
constexpr int64_t task_columns = 256;      // with panel_depth, a panel that stays in the second-level cache
constexpr int64_t panel_depth = 256;       // terms
constexpr int64_t panel_budget = 1 << 21;  // floats packed at once: they stay in the last-level cache
constexpr int64_t column_unit = 32;        // a multiple of every kernel's strip
constexpr int64_t square = 16;             // a transposition works on squares of this side

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// y [columns, rows] = x [rows, columns] transposed, square by square for the cache.
void transpose(const float* x, int64_t x_stride, int64_t rows, int64_t columns, float* y, int64_t y_stride) {
    for (int64_t top = 0; top < rows; top += square)
        for (int64_t left = 0; left < columns; left += square)
            for (int64_t j = left; j < std::min(columns, left + square); ++j)
                for (int64_t i = top; i < std::min(rows, top + square); ++i)
                    y[j * y_stride + i] = x[i * x_stride + j];
}

// A matrix as it is stored.
struct Matrix {
    const float* data;
    int64_t stride;
    bool is_transposed;

    const float* at(int64_t row, int64_t column) const {
        return data + (is_transposed ? column * stride + row : row * stride + column);
    }
};

// Rows and columns of b from its element (row, column) on, as strips [depth, strip].
void pack(const Matrix& b, int64_t row, int64_t column, int64_t depth, int64_t columns, int64_t strip,
          float* to) {
    for (int64_t j = 0; j < columns; j += strip, to += depth * strip) {
        const int64_t n = std::min(strip, columns - j);
        if (n < strip) std::fill_n(to, depth * strip, 0.0f);
        const float* from = b.at(row, column + j);
        if (b.is_transposed)
            transpose(from, b.stride, n, depth, to, strip);
        else
            for (int64_t i = 0; i < depth; ++i) std::copy_n(from + i * b.stride, n, to + i * strip);
    }
}

}  // namespace

void product(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
             const float* b, const float* base, float* c) {
    const bool at = transpose_a == Transpose::yes, bt = transpose_b == Transpose::yes;
    const Matrix left{a, at ? m : k, at}, right{b, bt ? k : n, bt};
    const ProductKernels& kernels = *cpu::kernels().products;
    ThreadPool& threads = ThreadPool::shared();
    const auto strip = static_cast<int64_t>(kernels.strip);
    const int64_t width = ceil_divide(n, column_unit) * column_unit;
    const int64_t most_panels = std::max<int64_t>(1, panel_budget / (width * panel_depth));
    const int64_t groups = ceil_divide(n, task_columns), blocks = ceil_divide(m, task_rows);
    const std::unique_ptr<float[]> panels(
        new float[std::min(most_panels, ceil_divide(k, panel_depth)) * panel_depth * width]);
    constexpr int64_t worker_floats = task_rows * (task_columns + panel_depth);
    const std::unique_ptr<float[]> scratch(new float[threads.size() * worker_floats]);

    for (int64_t first = 0; first == 0 || first < k; first += most_panels * panel_depth) {
        const int64_t end = std::min(k, first + most_panels * panel_depth);
        const auto panel = [&](int64_t term, int64_t group) {
            return panels.get() + (term - first) * width +
                   std::min(panel_depth, end - term) * group * task_columns;
        };
        threads.parallel_for(ceil_divide(end - first, panel_depth) * groups, [&](int64_t task, int) {
            const int64_t term = first + task / groups * panel_depth, group = task % groups;
            const int64_t column = group * task_columns;
            pack(right, term, column, std::min(panel_depth, end - term), std::min(task_columns, n - column),
                 strip, panel(term, group));
        });
        threads.parallel_for(blocks * groups, [&](int64_t task, int worker) {
            const int64_t row = task / groups * task_rows, group = task % groups,
                          column = group * task_columns;
            const int64_t rows = std::min(task_rows, m - row), columns = std::min(task_columns, n - column);
            float* sums = scratch.get() + worker * worker_floats;
            float* transposed = sums + task_rows * task_columns;
            if (first == end) std::fill_n(sums, rows * task_columns, 0.0f);
            for (int64_t term = first; term < end; term += panel_depth) {
                const int64_t depth = std::min(panel_depth, end - term);
                const float* from = left.at(row, term);
                if (at) {
                    transpose(from, left.stride, depth, rows, transposed, depth);
                    from = transposed;
                }
                kernels.multiply(from, static_cast<size_t>(at ? depth : left.stride),
                                 static_cast<size_t>(rows), panel(term, group), static_cast<size_t>(depth),
                                 static_cast<size_t>(columns), sums, task_columns, term > first,
                                 reinterpret_cast<const half*>(from), 0);
            }
            for (int64_t i = 0; i < rows; ++i) {
                const float* sum = sums + i * task_columns;
                float* to = c + (row + i) * n + column;
                if (const float* start = first > 0 ? c : base)
                    std::transform(sum, sum + columns, start + (row + i) * n + column, to,
                                   std::plus<float>());
                else
                    std::copy_n(sum, columns, to);
            }
        });
    }
}

}  // namespace ane::cpu
