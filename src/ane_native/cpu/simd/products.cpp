// The parts of matrix products for the SIMD level being compiled. Compile with -ffp-contract=fast: sums take
// fused multiply-adds where the level has them.
#include "half.h"
#include "level.h"
#include "vector.h"

namespace ane::cpu::ANEPERF_SIMD_LEVEL {
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

void pack(const half* b, size_t stride, size_t row, size_t rows, size_t columns, float* panel, size_t depth) {
    for (size_t k = row; k < row + rows; ++k, b += stride) {
        float* to = panel + k * strip;
        for (size_t first = 0; first < columns; first += strip, to += depth * strip) {
            for (size_t i = 0; i < strip; i += lanes) {
                const size_t begin = first + i;
                const size_t left = begin < columns ? columns - begin : 0;
                store(to + i,
                      left == 0 ? Floats{} : widen(load<Halves>(b + begin, left < lanes ? left : lanes)));
            }
        }
    }
}

// The state that one row of blocks shares.
struct BlockRow {
    const float* a;
    size_t a_stride, depth;
    float* c;
    size_t c_stride;
    bool accumulate;
    const half* next;
    size_t next_stride;
};

template <size_t rows, size_t vectors, bool fetches>
inline void multiply_block(const BlockRow& r, const float* b, float* c) {
    constexpr size_t line = 64 / sizeof(half);
    Floats sums[rows][vectors] = {};
    for (size_t k = 0; k < r.depth;) {
        const size_t end = r.depth - k < line ? r.depth : k + line;
        if constexpr (fetches) {
            for (size_t i = 0; i < rows; ++i) __builtin_prefetch(r.next + i * r.next_stride + k);
        }
        for (; k < end; ++k, b += strip) {
            Floats row[vectors];
            for (size_t j = 0; j < vectors; ++j) row[j] = load<Floats>(b + j * lanes);
            for (size_t i = 0; i < rows; ++i) {
                const Floats element = splat(r.a[i * r.a_stride + k]);
                for (size_t j = 0; j < vectors; ++j) sums[i][j] += element * row[j];
            }
        }
    }
    for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < vectors; ++j) {
            float* to = c + i * r.c_stride + j * lanes;
            store(to, r.accumulate ? load<Floats>(to) + sums[i][j] : sums[i][j]);
        }
    }
}

template <size_t rows>
void multiply_blocks(const BlockRow& r, const float* panel, size_t columns) {
    static_assert(block_vectors == 2, "the last block has one vector or all");
    for (size_t j = 0; j < columns; j += strip, panel += r.depth * strip) {
        if (columns - j <= lanes)
            multiply_block<rows, 1, false>(r, panel, r.c + j);
        else if (j == 0)
            multiply_block<rows, block_vectors, true>(r, panel, r.c + j);
        else
            multiply_block<rows, block_vectors, false>(r, panel, r.c + j);
    }
}

template <size_t rows = block_rows>
inline void multiply_block_row(const BlockRow& r, size_t count, const float* panel, size_t columns) {
    if constexpr (rows > 1) {
        if (count < rows) return multiply_block_row<rows - 1>(r, count, panel, columns);
    }
    multiply_blocks<rows>(r, panel, columns);
}

void multiply(const float* a, size_t a_stride, size_t rows, const float* panel, size_t depth, size_t columns,
              float* c, size_t c_stride, bool accumulate, const half* next, size_t next_stride) {
    for (size_t i = 0; i < rows; i += block_rows) {
        const BlockRow row{a + i * a_stride,       a_stride,   depth, c + i * c_stride, c_stride, accumulate,
                           next + i * next_stride, next_stride};
        multiply_block_row(row, rows - i, panel, columns);
    }
}

template <size_t vectors>
inline void multiply_columns(const float* a, const half* b, size_t stride, size_t depth, size_t count,
                             float* c, bool accumulate) {
    Floats sums[vectors] = {};
    for (size_t k = 0; k < depth; ++k, b += stride) {
        const Floats element = splat(a[k]);
        for (size_t j = 0; j < vectors; ++j) sums[j] += element * widen(load<Halves>(b + j * lanes, count));
    }
    for (size_t j = 0; j < vectors; ++j) {
        float* to = c + j * lanes;
        store(to, accumulate ? load<Floats>(to) + sums[j] : sums[j]);
    }
}

void multiply_row(const float* a, const half* b, size_t stride, size_t depth, size_t columns, float* c,
                  bool accumulate) {
    constexpr size_t vectors = 8;  // enough sums to hide the latency of one
    size_t j = 0;
    for (; j + vectors * lanes <= columns; j += vectors * lanes)
        multiply_columns<vectors>(a, b + j, stride, depth, lanes, c + j, accumulate);
    for (; j + lanes <= columns; j += lanes)
        multiply_columns<1>(a, b + j, stride, depth, lanes, c + j, accumulate);
    if (j < columns) multiply_columns<1>(a, b + j, stride, depth, columns - j, c + j, accumulate);
}

using Eight [[gnu::vector_size(16)]] = half;
constexpr size_t eight = 8;

inline void transpose_eight(const half* x, size_t x_stride, half* y, size_t y_stride) {
    Eight rows[eight], next[eight];
    for (size_t i = 0; i < eight; ++i) rows[i] = load<Eight>(x + i * x_stride);
    // Each round interleaves the first half of the rows with the second: three rotate the six bits of an
    // index by half.
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

}  // namespace

constinit const ProductKernels products = {.rows = block_rows,
                                           .strip = strip,
                                           .pack = pack,
                                           .multiply = multiply,
                                           .multiply_row = multiply_row,
                                           .transpose = transpose};

}  // namespace ane::cpu::ANEPERF_SIMD_LEVEL
