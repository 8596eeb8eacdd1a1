#include "engine_rows.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "emulator/engine_functions.h"

namespace ane::emulator {

namespace {

constexpr int64_t chunk = 316;
constexpr int64_t most_exact_terms = 4096;

// In fp64, whose roundings are far below those that follow; in an order that no level changes.
double sum_of_squares(const Kernels& k, const half* x, int64_t n) {
    constexpr int64_t sums_at_once = 8;
    alignas(64) float values[tile];
    double sums[sums_at_once] = {};
    for (int64_t begin = 0; begin < n; begin += tile) {
        const int64_t count = std::min(tile, n - begin);
        k.decode(x + begin, values, static_cast<size_t>(count));
        std::fill(values + count, values + ceil_divide(count, sums_at_once) * sums_at_once, 0.0f);
        for (int64_t i = 0; i < count; i += sums_at_once)
            for (int64_t j = 0; j < sums_at_once; ++j)
                sums[j] += static_cast<double>(values[i + j]) * static_cast<double>(values[i + j]);
    }
    return std::accumulate(std::begin(sums), std::end(sums), 0.0);
}

// As it is: a number of exponent 31 is not rounded to infinity.
half largest(const half* x, int64_t n) {
    int most = -0x7fff;
    for (int64_t i = 0; i < n; ++i) {
        const int magnitude = x[i] & 0x7fff;
        most = std::max(most, x[i] & 0x8000 ? -magnitude : magnitude);
    }
    return static_cast<half>(most < 0 ? 0x8000 - most : most);
}

}  // namespace

Units exact_sum(const Kernels& k, const half* x, int64_t n, bool is_squared) {
    alignas(64) half squares[most_exact_terms];
    Units sum = 0;
    for (int64_t begin = 0; begin < n; begin += most_exact_terms) {
        const auto terms = static_cast<size_t>(std::min(most_exact_terms, n - begin));
        const half* from = x + begin;
        if (is_squared) {
            k.binary_halves(Binary::mul, from, from, squares, terms, Numbers::engine);
            from = squares;
        }
        sum += in_least_units(k.sum_exactly(from, terms));
    }
    return sum;
}

half sum_in_chunks(const Kernels& k, const half* x, int64_t n, bool is_squared, Rounding rounding) {
    half sum = 0;
    for (int64_t begin = 0; begin < n; begin += chunk) {
        const Units part = exact_sum(k, x + begin, std::min(chunk, n - begin), is_squared);
        sum = engine_half(engine_number(sum) + engine_number(engine_half(part, 1, rounding)));
    }
    return sum;
}

void add_engine_softmax(Lowering& l, const RowStep& step) {
    const int64_t length = step.view.length;
    const auto n = static_cast<size_t>(length);
    const bool in_chunks = step.along_last_axis && length > l.profile().longest_exact_sum;
    add_half_rows(l, step,
                  [=, exp = engine_function(Unary::exp, {}), inverse = engine_function(Unary::inverse, {}),
                   rounding = l.profile().reduction](const Execution& e, const half* x, half* y, int64_t) {
                      const Kernels& k = e.kernels;
                      const half maximum = largest(x, length);
                      k.binary_halves(Binary::sub, x, {&maximum, 0}, y, n, Numbers::engine);
                      k.look_up(exp->data(), y, y, n);
                      const half sum = in_chunks ? sum_in_chunks(k, y, length, false, rounding)
                                                 : engine_half(exact_sum(k, y, length, false), 1, rounding);
                      k.binary_halves(Binary::mul, y, {&(*inverse)[sum], 0}, y, n, Numbers::engine);
                  });
}

void engine_normalize(const Kernels& k, const half* x, half* y, int64_t n, float epsilon, Rounding rounding) {
    const auto count = static_cast<size_t>(n);
    const half mean = engine_half(exact_sum(k, x, n, false), n, rounding);
    k.binary_halves(Binary::sub, x, {&mean, 0}, y, count, Numbers::engine);
    const half variance = engine_half(sum_of_squares(k, y, n) / static_cast<double>(n));
    const half factor = engine_rsqrt(engine_number(variance) + static_cast<double>(epsilon));
    k.binary_halves(Binary::mul, y, {&factor, 0}, y, count, Numbers::engine);
}

}  // namespace ane::emulator
