// The vector loops of the SIMD level being compiled, for the compiler to vectorize. No standard header with
// functions is used: the linker must never pick wide code for a narrow level.
#include "level.h"

namespace ane::cpu::ANEPERF_SIMD_LEVEL {
namespace {

void add(const float* a, const float* b, float* __restrict y, size_t n) {
    for (size_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}

void add_product(const float* a, const float* b, float scale, float* __restrict sums, size_t n) {
    for (size_t i = 0; i < n; ++i) sums[i] += a[i] * b[i] * scale;
}

void scale(const float* x, const float* factors, float scale, float* __restrict y, size_t n) {
    for (size_t i = 0; i < n; ++i) y[i] = x[i] * factors[i] * scale;
}

void add_difference(const float* a, float scale, const float* b, const float* c, const float* d,
                    float* __restrict y, size_t n) {
    for (size_t i = 0; i < n; ++i) y[i] += (a[i] * scale - b[i] * c[i]) * d[i];
}

float triple_sum(const float* a, const float* b, const float* c, size_t n) {
    constexpr size_t accumulators = 16;
    float sums[accumulators] = {};
    size_t i = 0;
    for (; i + accumulators <= n; i += accumulators)
        for (size_t j = 0; j < accumulators; ++j) sums[j] += a[i + j] * b[i + j] * c[i + j];
    for (size_t j = 0; i < n; ++i, ++j) sums[j] += a[i] * b[i] * c[i];
    for (size_t width = accumulators / 2; width > 0; width /= 2)
        for (size_t j = 0; j < width; ++j) sums[j] += sums[j + width];
    return sums[0];
}

void adam(const AdamStep& step, const float* gradient, float* __restrict parameter, float* __restrict mean,
          float* __restrict variance, size_t n) {
    const AdamStep s = step;
    const float decay = 1.0f - s.learning_rate * s.weight_decay;
    for (size_t i = 0; i < n; ++i) {
        const float g = gradient[i] * s.gradient_scale;
        mean[i] = s.beta1 * mean[i] + (1.0f - s.beta1) * g;
        variance[i] = s.beta2 * variance[i] + (1.0f - s.beta2) * g * g;
        const float step_size = s.learning_rate * s.correction1 * mean[i];
        parameter[i] =
            decay * parameter[i] - step_size / (__builtin_sqrtf(variance[i] * s.correction2) + s.epsilon);
    }
}

}  // namespace

constinit const Vectors vectors = {.add = add,
                                   .add_product = add_product,
                                   .scale = scale,
                                   .add_difference = add_difference,
                                   .triple_sum = triple_sum,
                                   .adam = adam};

}  // namespace ane::cpu::ANEPERF_SIMD_LEVEL
