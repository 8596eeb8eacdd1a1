// Sums, extremes and softmax, by the SIMD level being compiled. Each level adds in the same order.
#pragma once

#include "half.h"
#include "kernels.h"
#include "vector.h"
#include "vector_math.h"

namespace ane::cpu::ANEPERF_SIMD_LEVEL {
namespace {

template <size_t... i>
struct Indices {};
template <size_t count, size_t... i>
constexpr auto indices() {
    if constexpr (count == 0)
        return Indices<i...>{};
    else
        return indices<count - 1, count - 1, i...>();
}

template <size_t by, size_t... i>
inline Floats rotated(Floats x, Indices<i...>) {
    return __builtin_shufflevector(x, x, ((i + by) % lanes)...);
}

// Joins lane i with lane i + width, then those with width / 2, and so on to the first.
template <size_t width, class Combine>
inline float join(Floats x, Combine combine) {
    const Floats joined = combine(x, rotated<width>(x, indices<lanes>()));
    if constexpr (width == 1)
        return joined[0];
    else
        return join<width / 2>(joined, combine);
}

// Element i joins running result number i mod `accumulators`, and a fixed tree joins those. `elements(i,
// count)` is a vector of elements i to i + count - 1, and `start` an element that changes nothing.
template <size_t accumulators, class Elements, class Combine>
inline float fold(size_t n, float start, Elements elements, Combine combine) {
    Floats running[accumulators / lanes];
    for (Floats& r : running) r = splat(start);
    size_t i = 0;
    for (; i + accumulators <= n; i += accumulators) {
        for (size_t j = 0; j < accumulators / lanes; ++j) {
            running[j] = combine(running[j], elements(i + j * lanes, lanes));
        }
    }
    size_t j = 0;
    for (; i + lanes <= n; i += lanes, ++j) running[j] = combine(running[j], elements(i, lanes));
    if (i < n) {
        float last[lanes];
        store(last, splat(start));
        store(last, elements(i, n - i), n - i);
        running[j] = combine(running[j], load<Floats>(last));
    }
    for (size_t width = accumulators / lanes / 2; width > 0; width /= 2) {
        for (j = 0; j < width; ++j) running[j] = combine(running[j], running[j + width]);
    }
    return join<lanes / 2>(running[0], combine);
}

constexpr auto sum = [](auto a, auto b) { return a + b; };
constexpr auto larger = [](auto a, auto b) { return maximum(a, b); };
constexpr auto smaller = [](auto a, auto b) { return minimum(a, b); };

// Sums round, so every level must add in the same order. An extreme is the same in any order.
constexpr size_t sum_accumulators = 16;
constexpr size_t extreme_accumulators = 4 * lanes;

float reduce(Reduction op, const float* x, size_t n) {
    const auto elements = [=](size_t i, size_t count) { return load<Floats>(x + i, count); };
    switch (op) {
        case Reduction::sum: return fold<sum_accumulators>(n, 0.0f, elements, sum);
        case Reduction::max: return fold<extreme_accumulators>(n, -infinity, elements, larger);
        case Reduction::min: break;
    }
    return fold<extreme_accumulators>(n, infinity, elements, smaller);
}

float sum_of_squares(const float* x, size_t n) {
    const auto squares = [=](size_t i, size_t count) {
        const Floats v = load<Floats>(x + i, count);
        return v * v;
    };
    return fold<sum_accumulators>(n, 0.0f, squares, sum);
}

// `vectors` neighboring columns of vectors, the last of `count` elements; running results stay in registers.
// `term(elements, j)` prepares the elements of vector j.
template <size_t vectors, class Term, class Combine>
inline void fold_columns(const half* x, size_t stride, size_t rows, float* y, size_t count, Term term,
                         Combine combine) {
    const auto element = [=](size_t row, size_t j) {
        return term(load<Halves>(x + row * stride + j * lanes, j + 1 < vectors ? lanes : count), j);
    };
    Floats running[vectors];
    for (size_t j = 0; j < vectors; ++j) running[j] = element(0, j);
    for (size_t row = 1; row < rows; ++row)
        for (size_t j = 0; j < vectors; ++j) running[j] = combine(running[j], element(row, j));
    for (size_t j = 0; j < vectors; ++j) store(y + j * lanes, running[j], j + 1 < vectors ? lanes : count);
}

// `terms(column)` is the term of the vectors from a column on.
template <class Terms, class Combine>
inline void fold_all_columns(const half* x, size_t stride, size_t rows, float* y, size_t n, Terms terms,
                             Combine combine) {
    size_t i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes)
        fold_columns<4>(x + i, stride, rows, y + i, lanes, terms(i), combine);
    for (; i < n; i += lanes)
        fold_columns<1>(x + i, stride, rows, y + i, i + lanes <= n ? lanes : n - i, terms(i), combine);
}

void reduce_columns(Reduction op, const half* x, size_t stride, size_t rows, float* y, size_t n,
                    Numbers numbers) {
    const auto reduce_with = [=](auto combine) {
        with_numbers(numbers, [=](auto read, auto) {
            const auto term = [=](Halves v, size_t) { return read(v); };
            fold_all_columns(x, stride, rows, y, n, [=](size_t) { return term; }, combine);
        });
    };
    switch (op) {
        case Reduction::sum: return reduce_with(sum);
        case Reduction::max: return reduce_with(larger);
        case Reduction::min: return reduce_with(smaller);
    }
}

void largest_magnitude_columns(const half* x, size_t stride, size_t rows, float* y, size_t n,
                               Numbers numbers) {
    with_numbers(numbers, [=](auto read, auto) {
        const auto term = [=](Halves v, size_t) { return abs(read(v)); };
        fold_all_columns(x, stride, rows, y, n, [=](size_t) { return term; }, larger);
    });
}

void sum_square_columns(const half* x, const float* factors, size_t stride, size_t rows, float* y, size_t n) {
    // `narrow` may give any NaN here: the sum is NaN all the same.
    const auto square = [](Floats v) { return widen(narrow(v * v)); };
    const auto term = [=](Halves v, size_t) { return square(widen(v)); };
    if (!factors) return fold_all_columns(x, stride, rows, y, n, [=](size_t) { return term; }, sum);
    fold_all_columns(
        x, stride, rows, y, n,
        [=](size_t column) {
            return [=, by = factors + column](Halves v, size_t j) {
                return square(widen(narrow(widen(v) * load<Floats>(by + j * lanes))));
            };
        },
        sum);
}

double sum_exactly(const half* x, size_t n) {
    Doubles running{};
    for (size_t i = 0; i < n; i += lanes)
        running +=
            __builtin_convertvector(decode(load<Halves>(x + i, n - i < lanes ? n - i : lanes)), Doubles);
    double total = 0;
    for (size_t i = 0; i < lanes; ++i) total += running[i];
    return total;
}

void add_exactly(const half* x, double* sums, size_t n) {
    for (size_t i = 0; i < n; i += lanes) {
        const size_t count = n - i < lanes ? n - i : lanes;
        const Doubles elements = __builtin_convertvector(decode(load<Halves>(x + i, count)), Doubles);
        for (size_t j = 0; j < count; ++j) sums[i + j] += elements[j];
    }
}

inline Floats load_floats(const float* x, size_t count) { return load<Floats>(x, count); }
inline Floats load_floats(const half* x, size_t count) { return widen(load<Halves>(x, count)); }

// A NaN may be missed here: the sum of exponentials is NaN all the same.
template <class T>
inline float largest_of(const T* x, size_t n) {
    return fold<extreme_accumulators>(
        n, -infinity, [=](size_t i, size_t count) { return load_floats(x + i, count); },
        [](auto a, auto b) { return b > a ? b : a; });
}

// y[i] = exp(x[i] - maximum); their sum.
template <class T>
inline float shifted_exponentials(const T* x, float maximum, float* y, size_t n) {
    const auto exponentials = [=](size_t i, size_t count) {
        const Floats e = exp(load_floats(x + i, count) - maximum);
        store(y + i, e, count);
        return e;
    };
    return fold<sum_accumulators>(n, 0.0f, exponentials, sum);
}

Exponentials exponentials(const float* x, float* y, size_t n) {
    const float maximum = largest_of(x, n);
    return {maximum, shifted_exponentials(x, maximum, y, n)};
}

// All rows go through one loop before the next: within a row each loop would wait for the result of the one
// before.
void softmax(const half* x, size_t rows, size_t n, float* scratch, half* y) {
    float maxima[most_softmax_rows], factors[most_softmax_rows];
    for (size_t row = 0; row < rows; ++row) maxima[row] = largest_of(x + row * n, n);
    for (size_t row = 0; row < rows; ++row)
        factors[row] = 1.0f / shifted_exponentials(x + row * n, maxima[row], scratch + row * n, n);
    for (size_t row = 0; row < rows; ++row)
        map<Floats>(scratch + row * n, y + row * n, n,
                    [=, factor = factors[row]](Floats v) { return narrow_any(v * factor); });
}

}  // namespace
}  // namespace ane::cpu::ANEPERF_SIMD_LEVEL
