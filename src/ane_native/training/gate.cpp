#include "gate.h"

#include <algorithm>

#include "cpu/simd/kernels.h"
#include "cpu/thread_pool.h"

namespace ane::training {

void gate_backward(const float* dgated, const float* h1, const float* h3, float* dh1, float* dh3,
                   int64_t count) {
    constexpr int64_t at_once = 4096;
    cpu::ThreadPool::shared().parallel_for((count + at_once - 1) / at_once, [&](int64_t task, int) {
        const int64_t begin = task * at_once, end = std::min(count, begin + at_once);
        float gates[at_once];
        cpu::kernels().unary(cpu::Unary::sigmoid, h1 + begin, {}, gates, static_cast<size_t>(end - begin));
        for (int64_t i = begin; i < end; ++i) {
            const float gate = gates[i - begin], silu = h1[i] * gate, dy = dgated[i];
            dh1[i] = dy * h3[i] * (gate + silu * (1.0f - gate));
            dh3[i] = dy * silu;
        }
    });
}

}  // namespace ane::training
