// The parts of matrix products for the SIMD level being compiled. Compile with -ffp-contract=fast: sums take
// fused multiply-adds where the level has them.
#pragma once

#include "half.h"
#include "kernels.h"
#include "vector.h"

namespace ane::emulator {
namespace {

// The sums that stay in registers, beside a row of the panel and an element of the left operand.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr size_t block_rows = 8;
#elif defined(__AVX2__)
constexpr size_t block_rows = 6;
#else
constexpr size_t block_rows = 4;
#endif
constexpr size_t block_vectors = 2;
constexpr size_t strip = block_vectors * lanes;

void pack(const half* b, size_t stride, size_t rows, size_t columns, float* panel, size_t depth) {
    for (size_t k = 0; k < rows; ++k, b += stride, panel += strip) {
        float* to = panel;
        for (size_t first = 0; first < columns; first += strip, to += depth * strip) {
            for (size_t i = 0; i < strip; i += lanes) {
                const size_t begin = first + i;
                const size_t left = begin < columns ? columns - begin : 0;
                store(to + i, left == 0 ? Floats{} : widen(load<Halves>(b + begin, left < lanes ? left : lanes)));
            }
        }
    }
}

template <size_t rows, size_t vectors>
inline void multiply_block(const float* a, size_t a_stride, const float* b, size_t depth, float* c,
                           size_t c_stride, bool accumulate) {
    Floats sums[rows][vectors] = {};
    for (size_t k = 0; k < depth; ++k, b += strip) {
        Floats row[vectors];
        for (size_t j = 0; j < vectors; ++j) row[j] = load<Floats>(b + j * lanes);
        for (size_t i = 0; i < rows; ++i) {
            const Floats element = splat(a[i * a_stride + k]);
            for (size_t j = 0; j < vectors; ++j) sums[i][j] += element * row[j];
        }
    }
    for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < vectors; ++j) {
            float* to = c + i * c_stride + j * lanes;
            store(to, accumulate ? load<Floats>(to) + sums[i][j] : sums[i][j]);
        }
    }
}

template <size_t rows>
void multiply_rows(const float* a, size_t a_stride, const float* panel, size_t depth, size_t columns, float* c,
                   size_t c_stride, bool accumulate) {
    size_t j = 0;
    for (; j + (strip - lanes) < columns; j += strip, panel += depth * strip)
        multiply_block<rows, block_vectors>(a, a_stride, panel, depth, c + j, c_stride, accumulate);
    if (j < columns) multiply_block<rows, 1>(a, a_stride, panel, depth, c + j, c_stride, accumulate);
}

template <size_t rows = block_rows>
inline void multiply_few(size_t count, const float* a, size_t a_stride, const float* panel, size_t depth,
                         size_t columns, float* c, size_t c_stride, bool accumulate) {
    if constexpr (rows > 1) {
        if (count < rows) {
            multiply_few<rows - 1>(count, a, a_stride, panel, depth, columns, c, c_stride, accumulate);
            return;
        }
    }
    multiply_rows<rows>(a, a_stride, panel, depth, columns, c, c_stride, accumulate);
}

void multiply(const float* a, size_t a_stride, size_t rows, const float* panel, size_t depth, size_t columns,
              float* c, size_t c_stride, bool accumulate) {
    for (size_t i = 0; i < rows; i += block_rows) {
        multiply_few(rows - i < block_rows ? rows - i : block_rows, a + i * a_stride, a_stride, panel, depth,
                     columns, c + i * c_stride, c_stride, accumulate);
    }
}

using Eight [[gnu::vector_size(16)]] = half;
constexpr size_t eight = 8;

inline void transpose_eight(const half* x, size_t x_stride, half* y, size_t y_stride) {
    Eight rows[eight], next[eight];
    for (size_t i = 0; i < eight; ++i) rows[i] = load<Eight>(x + i * x_stride);
    // Each round interleaves the first half of the rows with the second: three rotate the six bits of an index
    // by half.
    for (int round = 0; round < 3; ++round) {
        for (size_t i = 0; i < eight / 2; ++i) {
            const Eight a = rows[i], b = rows[i + eight / 2];
            next[2 * i] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
            next[2 * i + 1] = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
        }
        for (size_t i = 0; i < eight; ++i) rows[i] = next[i];
    }
    for (size_t i = 0; i < eight; ++i) store(y + i * y_stride, rows[i]);
}

void transpose(const half* x, size_t x_stride, size_t rows, size_t columns, half* y, size_t y_stride) {
    const size_t whole_rows = rows / eight * eight, whole_columns = columns / eight * eight;
    for (size_t j = 0; j < whole_columns; j += eight) {
        for (size_t i = 0; i < whole_rows; i += eight)
            transpose_eight(x + i * x_stride + j, x_stride, y + j * y_stride + i, y_stride);
    }
    for (size_t i = 0; i < rows; ++i) {
        for (size_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j)
            y[j * y_stride + i] = x[i * x_stride + j];
    }
}

constexpr ProductKernels make_product_kernels() {
    return {.rows = block_rows, .strip = strip, .pack = pack, .multiply = multiply, .transpose = transpose};
}

}  // namespace
}  // namespace ane::emulator
