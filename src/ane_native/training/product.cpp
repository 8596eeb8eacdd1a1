#include "product.h"

#include <algorithm>

#include "cpu/thread_pool.h"

namespace ane::training {

namespace {

constexpr int64_t largest_height = 256, largest_width = 768;

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Tiles of c: large, since packing the operands, which every tile does anew, must be small beside its
// product. Sizes depend on the shapes alone: a BLAS sums small tiles in another order than large ones.
struct Tiles {
    int64_t across, down, width, height;

    Tiles(int64_t m, int64_t n) {
        constexpr int64_t unit = 16;   // rows and columns of a BLAS's own tiles divide it
        constexpr int64_t shares = 8;  // as many as 2, 4 or 8 threads take evenly
        const int64_t wanted =
            ceil_divide(ceil_divide(n, largest_width) * ceil_divide(m, largest_height), shares) * shares;
        width = ceil_divide(ceil_divide(n, ceil_divide(n, largest_width)), unit) * unit;
        across = ceil_divide(n, width);
        height = ceil_divide(ceil_divide(m, ceil_divide(wanted, across)), unit) * unit;
        down = ceil_divide(m, height);
    }
};

}  // namespace

void product(cpu::Transpose transpose_a, cpu::Transpose transpose_b, int64_t m, int64_t n, int64_t k,
             const float* a, const float* b, const float* base, float* c) {
    const Tiles tiles(m, n);
    const bool at = transpose_a == cpu::Transpose::yes, bt = transpose_b == cpu::Transpose::yes;
    const int64_t lda = at ? m : k, ldb = bt ? k : n;
    cpu::ThreadPool::shared().parallel_for(tiles.down * tiles.across, [&](int64_t task, int) {
        const int64_t row = task / tiles.across * tiles.height, column = task % tiles.across * tiles.width;
        const int64_t rows = std::min(tiles.height, m - row), columns = std::min(tiles.width, n - column);
        float* to = c + row * n + column;
        // A tile of the base is still in the cache when its product is added.
        if (base && base != c)
            for (int64_t i = 0; i < rows; ++i)
                std::copy_n(base + (row + i) * n + column, columns, to + i * n);
        cpu::gemm(transpose_a, transpose_b, rows, columns, k, 1.0f, a + (at ? row : row * lda), lda,
                  b + (bt ? column * ldb : column), ldb, base ? 1.0f : 0.0f, to, n);
    });
}

}  // namespace ane::training
