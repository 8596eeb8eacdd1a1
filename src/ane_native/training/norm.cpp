#include "norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/simd/kernels.h"
#include "cpu/simd/vectors.h"
#include "cpu/thread_pool.h"

namespace ane::training {

namespace {

constexpr int64_t block = 64;  // positions that one thread takes: a few cache lines of every channel

// Calls work(first, count) for blocks of positions.
template <typename Work>
void for_each_block(int64_t positions, const Work& work) {
    cpu::ThreadPool::shared().parallel_for((positions + block - 1) / block, [&](int64_t b, int) {
        work(b * block, static_cast<size_t>(std::min(block, positions - b * block)));
    });
}

// 1 / sqrt(mean square + epsilon) of each position of a block.
void inverse_rms(const NormShape& s, const float* x, size_t n, float* result) {
    std::fill_n(result, n, 0.0f);
    for (int64_t c = 0; c < s.channels; ++c)
        cpu::kernels().vectors->add_product(x + c * s.positions, x + c * s.positions, 1.0f, result, n);
    for (size_t i = 0; i < n; ++i)
        result[i] = 1.0f / std::sqrt(result[i] / static_cast<float>(s.channels) + s.epsilon);
}

}  // namespace

void rms_norm(const NormShape& s, const float* x, const float* weight, float* y) {
    for_each_block(s.positions, [&](int64_t first, size_t n) {
        float factor[block];
        inverse_rms(s, x + first, n, factor);
        for (int64_t c = 0; c < s.channels; ++c)
            cpu::kernels().vectors->scale(x + first + c * s.positions, factor, weight[c],
                                          y + first + c * s.positions, n);
    });
}

// dx = r (w dy - x r^2 mean(w dy x)), dw = sum of dy x r over positions, with r = 1 / rms(x).
void rms_norm_backward(const NormShape& s, const float* dy, const float* x, const float* weight, float* dx,
                       float* dweight) {
    std::vector<float> factors(static_cast<size_t>(s.positions));
    for_each_block(s.positions, [&](int64_t first, size_t n) {
        float* factor = factors.data() + first;
        float along[block] = {};
        inverse_rms(s, x + first, n, factor);
        if (!dx) return;
        for (int64_t c = 0; c < s.channels; ++c) {
            const int64_t row = c * s.positions + first;
            cpu::kernels().vectors->add_product(dy + row, x + row, weight[c], along, n);
        }
        for (size_t i = 0; i < n; ++i) along[i] *= factor[i] * factor[i] / static_cast<float>(s.channels);
        for (int64_t c = 0; c < s.channels; ++c) {
            const int64_t row = c * s.positions + first;
            cpu::kernels().vectors->add_difference(dy + row, weight[c], x + row, along, factor, dx + row, n);
        }
    });
    if (!dweight) return;
    constexpr int64_t rows = 32;
    cpu::ThreadPool::shared().parallel_for((s.channels + rows - 1) / rows, [&](int64_t task, int) {
        for (int64_t c = task * rows; c < std::min(s.channels, (task + 1) * rows); ++c)
            dweight[c] += cpu::kernels().vectors->triple_sum(
                dy + c * s.positions, x + c * s.positions, factors.data(), static_cast<size_t>(s.positions));
    });
}

}  // namespace ane::training
