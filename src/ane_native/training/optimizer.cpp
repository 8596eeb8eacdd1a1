#include "optimizer.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "cpu/simd/kernels.h"
#include "cpu/thread_pool.h"

namespace ane::training {

namespace {

constexpr int64_t chunk = 16384;

// Calls work(begin, n, index) for chunks of an array.
template <typename Work>
void for_each_chunk(int64_t count, const Work& work) {
    cpu::ThreadPool::shared().parallel_for((count + chunk - 1) / chunk, [&](int64_t index, int) {
        work(index * chunk, static_cast<size_t>(std::min(chunk, count - index * chunk)), index);
    });
}

}  // namespace

void adam(const cpu::AdamStep& step, const float* gradient, float* parameter, float* mean, float* variance,
          int64_t count) {
    for_each_chunk(count, [&](int64_t begin, size_t n, int64_t) {
        cpu::kernels().vectors->adam(step, gradient + begin, parameter + begin, mean + begin,
                                     variance + begin, n);
    });
}

double sum_of_squares(const float* x, int64_t count) {
    std::vector<double> sums(static_cast<size_t>((count + chunk - 1) / chunk));
    for_each_chunk(count, [&](int64_t begin, size_t n, int64_t index) {
        sums[static_cast<size_t>(index)] = cpu::kernels().sum_of_squares(x + begin, n);
    });
    return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace ane::training
