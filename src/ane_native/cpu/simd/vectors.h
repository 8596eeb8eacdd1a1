// Loops over fp32 vectors for training, compiled once for each SIMD level.
#pragma once

#include <cstddef>

namespace ane::cpu {

// One step of AdamW. (Loshchilov & Hutter 2019)
struct AdamStep {
    float learning_rate, beta1, beta2, epsilon, weight_decay;
    float correction1, correction2;  // 1 / (1 - beta^step): the moments begin at 0
    float gradient_scale;            // what the gradient is multiplied by first
};

struct Vectors {
    void (*add)(const float* a, const float* b, float* y, size_t n);
    void (*add_product)(const float* a, const float* b, float scale, float* sums, size_t n);
    // y = x * factors * scale
    void (*scale)(const float* x, const float* factors, float scale, float* y, size_t n);
    // y += (a * scale - b * c) * d
    void (*add_difference)(const float* a, float scale, const float* b, const float* c, const float* d,
                           float* y, size_t n);
    // The sum of a * b * c, in 16 running sums.
    float (*triple_sum)(const float* a, const float* b, const float* c, size_t n);
    void (*adam)(const AdamStep& step, const float* gradient, float* parameter, float* mean, float* variance,
                 size_t n);
};

}  // namespace ane::cpu
