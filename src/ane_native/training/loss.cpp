#include "loss.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/simd/kernels.h"
#include "cpu/thread_pool.h"

namespace ane::training {

using cpu::Binary;
using cpu::Kernels;
using cpu::Unary;

// Rows are vocabulary entries, so that a maximum and a sum of each position run down the rows: a block of
// rows at a time while it is in cache, then the blocks are put together.
double cross_entropy(float* logits, const int32_t* targets, int64_t vocab, int64_t positions, float scale) {
    const Kernels& k = cpu::kernels();
    const auto n = static_cast<size_t>(positions);
    const int64_t rows = std::clamp<int64_t>(32768 / positions, 1, vocab);
    const int64_t blocks = (vocab + rows - 1) / rows;
    std::vector<float> target_logits(n), maxima(static_cast<size_t>(blocks) * n), sums(maxima.size());
    for (size_t s = 0; s < n; ++s) target_logits[s] = logits[static_cast<size_t>(targets[s]) * n + s];

    auto& threads = cpu::ThreadPool::shared();
    const auto for_each_row = [&](int64_t b, const auto& work) {
        for (int64_t row = b * rows; row < std::min(vocab, (b + 1) * rows); ++row)
            work(logits + row * positions);
    };
    threads.parallel_for(blocks, [&](int64_t b, int) {
        float* maximum = maxima.data() + b * positions;
        float* sum = sums.data() + b * positions;
        std::copy_n(logits + b * rows * positions, n, maximum);
        for_each_row(b, [&](float* row) { k.binary(Binary::maximum, maximum, row, maximum, n); });
        for_each_row(b, [&](float* row) {
            k.binary(Binary::sub, row, maximum, row, n);
            k.unary(Unary::exp, row, {}, row, n);
            k.binary(Binary::add, sum, row, sum, n);
        });
    });

    std::vector<float> maximum(maxima.begin(), maxima.begin() + positions), sum(n);
    for (int64_t b = 1; b < blocks; ++b)
        k.binary(Binary::maximum, maximum.data(), maxima.data() + b * positions, maximum.data(), n);
    for (int64_t b = 0; b < blocks; ++b) {
        float* factor = maxima.data() + b * positions;
        for (size_t s = 0; s < n; ++s) {
            factor[s] = std::exp(factor[s] - maximum[s]);
            sum[s] += factor[s] * sums[static_cast<size_t>(b) * n + s];
        }
    }

    const float weight = scale / static_cast<float>(positions);
    threads.parallel_for(blocks, [&](int64_t b, int) {
        float* factor = maxima.data() + b * positions;
        for (size_t s = 0; s < n; ++s) factor[s] *= weight / sum[s];
        for_each_row(b, [&](float* row) { k.binary(Binary::mul, row, factor, row, n); });
    });
    double loss = 0;
    for (size_t s = 0; s < n; ++s) {
        logits[static_cast<size_t>(targets[s]) * n + s] -= weight;
        loss += std::log(static_cast<double>(sum[s])) + maximum[s] - target_logits[s];
    }
    return loss / static_cast<double>(positions);
}

double cross_entropy_of_probabilities(float* probabilities, const Channels& logits, const int32_t* targets,
                                      float scale) {
    const Kernels& k = cpu::kernels();
    const int64_t vocab = logits.count(), positions = logits.positions();
    const auto n = static_cast<size_t>(positions);
    const float weight = scale / static_cast<float>(positions);
    const Surface::Lock lock(logits.surface(), Surface::Access::read);
    const auto logit_row = [&](int64_t entry) {
        return reinterpret_cast<const cpu::half*>(lock.data() + logits.offset() + entry * logits.pitch());
    };
    std::vector<float> target_logits(n);
    for (int64_t s = 0; s < positions; ++s) {
        k.to_float(logit_row(targets[s]) + s, &target_logits[static_cast<size_t>(s)], 1);
    }

    const int64_t rows = std::clamp<int64_t>(32768 / positions, 1, vocab);
    const int64_t blocks = (vocab + rows - 1) / rows;
    std::vector<float> top_probability(static_cast<size_t>(blocks) * n, 0.0f);
    std::vector<float> top_logit(top_probability.size(), -std::numeric_limits<float>::infinity());
    cpu::ThreadPool::shared().parallel_for(blocks, [&](int64_t b, int) {
        std::vector<float> logit(n);
        float *probability = top_probability.data() + b * positions,
              *highest = top_logit.data() + b * positions;
        for (int64_t entry = b * rows; entry < std::min(vocab, (b + 1) * rows); ++entry) {
            float* row = probabilities + entry * positions;
            k.binary(Binary::maximum, probability, row, probability, n);
            k.binary_scalar(Binary::mul, row, weight, row, n);
            k.to_float(logit_row(entry), logit.data(), n);
            k.binary(Binary::maximum, highest, logit.data(), highest, n);
        }
    });
    double loss = 0;
    for (size_t s = 0; s < n; ++s) {
        float probability = 0, logit = -std::numeric_limits<float>::infinity();
        for (size_t b = 0; b < static_cast<size_t>(blocks); ++b) {
            probability = std::max(probability, top_probability[b * n + s]);
            logit = std::max(logit, top_logit[b * n + s]);
        }
        loss += static_cast<double>(logit) - target_logits[s] - std::log(static_cast<double>(probability));
        probabilities[static_cast<size_t>(targets[s]) * n + s] -= weight;
    }
    return loss / static_cast<double>(positions);
}

}  // namespace ane::training
