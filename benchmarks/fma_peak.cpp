// The most fp32 that one core computes: fused multiply-adds that never leave the registers.
// gemm_ratio.py compiles this for the machine it runs on.
#include <chrono>

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif
using Floats [[gnu::vector_size(vector_bytes)]] = float;

// GFLOP/s of the calling thread over about `seconds`.
extern "C" double fma_peak(double seconds) {
    using Clock = std::chrono::steady_clock;
    constexpr int chains = 12;  // enough to hide the latency, and few enough for 16 registers
    constexpr int rounds = 20000;
    Floats sums[chains] = {}, factor = Floats{} + 0.999f, term = Floats{} + 0.001f;
    double operations = 0, elapsed = 0;
    const auto start = Clock::now();
    while (elapsed < seconds) {
        for (int round = 0; round < rounds; ++round)
            for (Floats& sum : sums) sum = sum * factor + term;
        for (Floats& sum : sums) __asm__ __volatile__("" : : "m"(sum));  // every chain counts
        operations += 2.0 * chains * rounds * (vector_bytes / sizeof(float));
        elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    }
    return operations / elapsed / 1e9;
}
