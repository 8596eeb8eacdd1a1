#include "embedding.h"

#include <algorithm>

#include "cpu/thread_pool.h"

namespace ane::training {

namespace {

// Calls work(first, end) for chunks of channels as long as a cache line of the table, so that no two
// threads write to a row's same line, however often a token occurs.
template <typename Work>
void for_each_line(int64_t dim, const Work& work) {
    constexpr int64_t line = 16;
    cpu::ThreadPool::shared().parallel_for((dim + line - 1) / line, [&](int64_t task, int) {
        work(task * line, std::min(dim, (task + 1) * line));
    });
}

}  // namespace

void embed(const float* table, const int32_t* tokens, int64_t dim, int64_t positions, float* y) {
    for_each_line(dim, [&](int64_t first, int64_t end) {
        for (int64_t s = 0; s < positions; ++s)
            for (int64_t c = first; c < end; ++c) y[c * positions + s] = table[tokens[s] * dim + c];
    });
}

void embed_backward(const float* dy, const int32_t* tokens, int64_t dim, int64_t positions, float* dtable) {
    for_each_line(dim, [&](int64_t first, int64_t end) {
        for (int64_t s = 0; s < positions; ++s)
            for (int64_t c = first; c < end; ++c) dtable[tokens[s] * dim + c] += dy[c * positions + s];
    });
}

}  // namespace ane::training
