#include "product.h"

#include <algorithm>

#include "../emulator/thread_pool.h"

namespace ane::host {

void product(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
             const float* b, const float* base, float* c) {
    // Large enough that packing the operands, which every tile does anew, is small beside its product.
    constexpr int64_t tile = 256;
    const int64_t down = (m + tile - 1) / tile, across = (n + tile - 1) / tile;
    const bool at = transpose_a == Transpose::yes, bt = transpose_b == Transpose::yes;
    const int64_t lda = at ? m : k, ldb = bt ? k : n;
    emulator::ThreadPool::shared().parallel_for(down * across, [&](int64_t task, int) {
        const int64_t row = task / across * tile, column = task % across * tile;
        const int64_t rows = std::min(tile, m - row), columns = std::min(tile, n - column);
        float* to = c + row * n + column;
        // A tile of the base is still in the cache when its product is added.
        if (base && base != c)
            for (int64_t i = 0; i < rows; ++i)
                std::copy_n(base + (row + i) * n + column, columns, to + i * n);
        gemm(transpose_a, transpose_b, rows, columns, k, 1.0f, a + (at ? row : row * lda), lda,
             b + (bt ? column * ldb : column), ldb, base ? 1.0f : 0.0f, to, n);
    });
}

}  // namespace ane::host
