#include "product.h"

#include <algorithm>

#include "../emulator/thread_pool.h"

namespace ane::host {

void product(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
             const float* b, float* c, bool accumulate) {
    // Large enough that packing the operands, which every tile does anew, is small beside its product.
    constexpr int64_t tile = 256;
    const int64_t down = (m + tile - 1) / tile, across = (n + tile - 1) / tile;
    const bool at = transpose_a == Transpose::yes, bt = transpose_b == Transpose::yes;
    const int64_t lda = at ? m : k, ldb = bt ? k : n;
    emulator::ThreadPool::shared().parallel_for(down * across, [&](int64_t task, int) {
        const int64_t row = task / across * tile, column = task % across * tile;
        gemm(transpose_a, transpose_b, std::min(tile, m - row), std::min(tile, n - column), k, 1.0f,
             a + (at ? row : row * lda), lda, b + (bt ? column * ldb : column), ldb, accumulate ? 1.0f : 0.0f,
             c + row * n + column, n);
    });
}

}  // namespace ane::host
