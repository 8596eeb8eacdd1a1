// The kernels of the SIMD level being compiled: loops that load a vector, compute, and store it, so that the
// result may replace an operand.
#pragma once

#include "half.h"
#include "kernels.h"
#include "vector.h"
#include "vector_functions.h"
#include "vector_math.h"

namespace ane::emulator {
namespace {

template <class Vector, class T, class U, class Function>
inline void map(const T* x, U* y, size_t n, Function function) {
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) store(y + i, function(load<Vector>(x + i)));
    if (i < n) store(y + i, function(load<Vector>(x + i, n - i)), n - i);
}

void to_float(const half* x, float* y, size_t n) {
    map<Halves>(x, y, n, [](Halves v) { return widen(v); });
}

void to_half(const float* x, half* y, size_t n, Rounding rounding) {
    map<Floats>(x, y, n, [=](Floats v) { return narrow(v, rounding); });
}

void unary(Unary op, const float* x, Parameters p, float* y, size_t n) {
    const float alpha = p.alpha, beta = p.beta;
    const auto apply = [=](auto function) { map<Floats>(x, y, n, function); };
    switch (op) {
        case Unary::abs: return apply([](Floats v) { return abs(v); });
        case Unary::atan: return apply([](Floats v) { return atan(v); });
        case Unary::ceil: return apply([](Floats v) { return ceil(v); });
        case Unary::clamped_relu:
            return apply([=](Floats v) { return minimum(splat(beta), v < 0.0f ? alpha * v : v); });
        case Unary::clip:
            return apply([=](Floats v) { return minimum(maximum(v, splat(alpha)), splat(beta)); });
        case Unary::cos: return apply([](Floats v) { return sine(v, 1); });
        case Unary::elu: return apply([=](Floats v) { return v < 0.0f ? alpha * exp_minus_1(v) : v; });
        case Unary::erf: return apply([](Floats v) { return erf(v); });
        case Unary::exp: return apply([](Floats v) { return exp(v); });
        case Unary::exp2: return apply([](Floats v) { return exp2(clamp(v, -200.0f, 200.0f), Floats{}); });
        case Unary::floor: return apply([](Floats v) { return floor(v); });
        case Unary::gelu_exact: return apply([](Floats v) { return gelu_exact(v); });
        case Unary::gelu_sigmoid: return apply([](Floats v) { return gelu_sigmoid(v); });
        case Unary::gelu_tanh: return apply([](Floats v) { return gelu_tanh(v); });
        case Unary::inverse: return apply([=](Floats v) { return 1.0f / (v + alpha); });
        case Unary::leaky_relu: return apply([=](Floats v) { return v < 0.0f ? alpha * v : v; });
        case Unary::linear_activation: return apply([=](Floats v) { return alpha * v + beta; });
        case Unary::log: return apply([=](Floats v) { return log(v + alpha); });
        case Unary::relu: return apply([](Floats v) { return maximum(v, Floats{}); });
        case Unary::round_by_adding_half:
            return apply([](Floats v) {
                const Floats sum = widen(narrow(abs(v) + 0.5f, Rounding{.ties_away = true}));
                return as_floats(as_words(floor(sum)) | sign_of(v));
            });
        case Unary::round_half_even: return apply([](Floats v) { return round_half_even(v); });
        case Unary::rsqrt: return apply([=](Floats v) { return 1.0f / sqrt(v + alpha); });
        case Unary::scaled_tanh: return apply([=](Floats v) { return alpha * tanh(beta * v); });
        case Unary::sigmoid: return apply([](Floats v) { return sigmoid(v); });
        case Unary::sigmoid_hard: return apply([=](Floats v) { return clamp(alpha * v + beta, 0.0f, 1.0f); });
        case Unary::sign: return apply([](Floats v) { return sign(v); });
        case Unary::silu: return apply([](Floats v) { return silu(v); });
        case Unary::sin: return apply([](Floats v) { return sine(v, 0); });
        case Unary::softplus: return apply([=](Floats v) { return v > alpha ? Floats{} : softplus(v); });
        case Unary::softsign: return apply([](Floats v) { return softsign(v); });
        case Unary::sqrt: return apply([](Floats v) { return sqrt(v); });
        case Unary::square: return apply([](Floats v) { return v * v; });
        case Unary::tanh: return apply([](Floats v) { return tanh(v); });
        case Unary::threshold: return apply([=](Floats v) { return maximum(v, splat(alpha)); });
        case Unary::thresholded_relu: return apply([=](Floats v) { return v < alpha ? Floats{} : v; });
    }
}

// An operand of a binary operation: an array, or one value for all elements.
struct Array {
    const float* p;
    Floats at(size_t i, size_t count) const { return load<Floats>(p + i, count); }
};
struct Scalar {
    float value;
    Floats at(size_t, size_t) const { return splat(value); }
};

inline Floats truth(Mask mask) { return mask ? splat(1.0f) : Floats{}; }

template <class A, class B, class Function>
inline void map(A a, B b, float* y, size_t n, Function function) {
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) store(y + i, function(a.at(i, lanes), b.at(i, lanes)));
    if (i < n) store(y + i, function(a.at(i, n - i), b.at(i, n - i)), n - i);
}

template <class A, class B>
inline void binary_of(Binary op, A a, B b, float* y, size_t n) {
    switch (op) {
        case Binary::add: return map(a, b, y, n, [](Floats u, Floats v) { return u + v; });
        case Binary::sub: return map(a, b, y, n, [](Floats u, Floats v) { return u - v; });
        case Binary::mul: return map(a, b, y, n, [](Floats u, Floats v) { return u * v; });
        case Binary::real_div: return map(a, b, y, n, [](Floats u, Floats v) { return u / v; });
        case Binary::floor_div: return map(a, b, y, n, [](Floats u, Floats v) { return floor(u / v); });
        case Binary::maximum: return map(a, b, y, n, [](Floats u, Floats v) { return maximum(u, v); });
        case Binary::minimum: return map(a, b, y, n, [](Floats u, Floats v) { return minimum(u, v); });
        case Binary::pow: return map(a, b, y, n, [](Floats u, Floats v) { return pow(u, v); });
        case Binary::prelu: return map(a, b, y, n, [](Floats u, Floats v) { return u < 0.0f ? v * u : u; });
        case Binary::equal: return map(a, b, y, n, [](Floats u, Floats v) { return truth(u == v); });
        case Binary::greater: return map(a, b, y, n, [](Floats u, Floats v) { return truth(u > v); });
        case Binary::greater_equal: return map(a, b, y, n, [](Floats u, Floats v) { return truth(u >= v); });
        case Binary::less: return map(a, b, y, n, [](Floats u, Floats v) { return truth(u < v); });
        case Binary::less_equal: return map(a, b, y, n, [](Floats u, Floats v) { return truth(u <= v); });
        case Binary::not_equal: return map(a, b, y, n, [](Floats u, Floats v) { return truth(u != v); });
    }
}

void binary(Binary op, const float* a, const float* b, float* y, size_t n) {
    binary_of(op, Array{a}, Array{b}, y, n);
}

void binary_scalar(Binary op, const float* a, float b, float* y, size_t n) {
    binary_of(op, Array{a}, Scalar{b}, y, n);
}

void scalar_binary(Binary op, float a, const float* b, float* y, size_t n) {
    binary_of(op, Scalar{a}, Array{b}, y, n);
}

// Element i joins running result number i mod `strands`, and a fixed tree joins those. `elements(i, count)`
// is a vector of elements i to i + count - 1, and `start` an element that changes nothing.
template <size_t strands, class Elements, class Combine>
inline float fold(size_t n, float start, Elements elements, Combine combine) {
    Floats running[strands / lanes];
    for (Floats& r : running) r = splat(start);
    size_t i = 0;
    for (; i + strands <= n; i += strands) {
        for (size_t j = 0; j < strands / lanes; ++j) {
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
    for (size_t width = strands / lanes / 2; width > 0; width /= 2) {
        for (j = 0; j < width; ++j) running[j] = combine(running[j], running[j + width]);
    }
    float strand[lanes];
    store(strand, running[0]);
    for (size_t width = lanes / 2; width > 0; width /= 2) {
        for (j = 0; j < width; ++j) strand[j] = combine(strand[j], strand[j + width]);
    }
    return strand[0];
}

constexpr auto sum = [](auto a, auto b) { return a + b; };

// Sums round, so every level must add in the same order. An extreme is the same in any order.
constexpr size_t sum_strands = 16;
constexpr size_t extreme_strands = 4 * lanes;

float reduce(Reduction op, const float* x, size_t n) {
    const auto elements = [=](size_t i, size_t count) { return load<Floats>(x + i, count); };
    const auto larger = [](auto a, auto b) { return maximum(a, b); };
    const auto smaller = [](auto a, auto b) { return minimum(a, b); };
    switch (op) {
        case Reduction::sum: return fold<sum_strands>(n, 0.0f, elements, sum);
        case Reduction::max: return fold<extreme_strands>(n, -infinity, elements, larger);
        case Reduction::min: break;
    }
    return fold<extreme_strands>(n, infinity, elements, smaller);
}

float sum_of_squares(const float* x, size_t n) {
    const auto squares = [=](size_t i, size_t count) {
        const Floats v = load<Floats>(x + i, count);
        return v * v;
    };
    return fold<sum_strands>(n, 0.0f, squares, sum);
}

float exp_and_sum(float* x, float maximum, size_t n) {
    const auto exponentials = [=](size_t i, size_t count) {
        const Floats y = exp(load<Floats>(x + i, count) - maximum);
        store(x + i, y, count);
        return y;
    };
    return fold<sum_strands>(n, 0.0f, exponentials, sum);
}

void quantize(const float* x, float scale, float zero_point, bool is_signed, uint8_t* y, size_t n) {
    const int32_t low = is_signed ? -128 : 0, high = low + 255, zero = static_cast<int32_t>(zero_point);
    const auto rounded = [=](Floats quotient) {
        // An undefined quotient counts as zero, and the bounds keep the conversion to integers defined.
        const Floats q = clamp(quotient == quotient ? quotient : 0.0f, -0x1p22f, 0x1p22f);
        // Towards zero after adding the number just below a half: ties, whose sums round up, go away from
        // zero, and no smaller fraction reaches the next integer.
        const Floats sum = q + as_floats(sign_of(q) | as_words(0x1.fffffep-2f));
        const Ints integer = __builtin_convertvector(sum, Ints) + zero;
        const Ints least = integer < low ? low : integer;
        const Ints bounded = least > high ? high : least;
        return __builtin_convertvector(__builtin_convertvector(bounded, Halves), Bytes);
    };
    // By a power of two the product is the quotient.
    const float inverse = 1.0f / scale;
    if ((as_words(scale) & 0x007fffffu) == 0)
        map<Floats>(x, y, n, [=](Floats v) { return rounded(v * inverse); });
    else
        map<Floats>(x, y, n, [=](Floats v) { return rounded(v / scale); });
}

void scale_integers(const int32_t* x, float scale, float* y, size_t n) {
    map<Ints>(x, y, n, [=](Ints v) { return __builtin_convertvector(v, Floats) * scale; });
}

constexpr Kernels make_kernels(const ProductKernels& products, const IntegerKernels& integers) {
    return {
        .level = level,
        .to_float = to_float,
        .to_half = to_half,
        .unary = unary,
        .binary = binary,
        .binary_scalar = binary_scalar,
        .scalar_binary = scalar_binary,
        .reduce = reduce,
        .sum_of_squares = sum_of_squares,
        .exp_and_sum = exp_and_sum,
        .quantize = quantize,
        .scale_integers = scale_integers,
        .products = &products,
        .integers = &integers,
    };
}

}  // namespace
}  // namespace ane::emulator
