// Elementary functions on vectors of fp32, from correctly rounded operations alone: +, -, *, /, square root,
// integer operations and selections. So every level and every machine gets the same bits.
// Polynomials are minimax fits; the error stated is relative to the function.
#pragma once

#include "vector.h"

namespace ane::emulator {
namespace {

constexpr float infinity = __builtin_inff();
constexpr float not_a_number = __builtin_nanf("");
constexpr float largest = 0x1.fffffep127f;
constexpr float log2_e = 0x1.715476p0f;

inline Words sign_of(Floats x) { return as_words(x) & 0x80000000u; }
inline Floats abs(Floats x) { return as_floats(as_words(x) & 0x7fffffffu); }
// The `count` leading bits of the significand: the product of two such numbers is exact if they sum to 24.
template <int count>
inline Floats leading_bits(Floats x) {
    return as_floats(as_words(x) & (0xffffffffu << (24 - count)));
}

// NaN stays NaN.
inline Floats clamp(Floats x, float low, float high) {
    x = x > high ? high : x;
    return x < low ? low : x;
}

// IEEE 754-2019 maximum and minimum: NaN if either is NaN, and -0 < +0.
inline Floats maximum(Floats a, Floats b) {
    const Floats larger = a > b ? a : b;
    const Floats same = as_floats(as_words(a) & as_words(b));
    return a == b ? same : (a == a ? larger : a);
}
inline Floats minimum(Floats a, Floats b) {
    const Floats smaller = a < b ? a : b;
    const Floats same = as_floats(as_words(a) | as_words(b));
    return a == b ? same : (a == a ? smaller : a);
}

inline Floats sqrt(Floats x) {
    for (size_t i = 0; i < lanes; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
}

struct Whole {
    Floats value;
    Words integer;
};
// The nearest whole number, for |x| < 2^22: adding 1.5 * 2^23 leaves it in the low bits.
inline Whole nearest(Floats x) {
    const Floats shifted = x + 0x1.8p23f;
    return {shifted - 0x1.8p23f, as_words(shifted) - 0x4b400000u};
}

// x * 2^n for -252 <= n <= 254: in two factors, so that results may overflow, or round to a subnormal.
inline Floats scale(Floats x, Words n) {
    const Words exponent = n + 254u;
    const Words half = exponent >> 1;
    return x * as_floats(half << 23) * as_floats((exponent - half) << 23);
}

// e^r for |r| <= 0.3475, within 2^-23.1.
inline Floats exp_near_zero(Floats r) {
    const Floats tail = ((0x1.1060cep-7f * r + 0x1.572c20p-5f) * r + 0x1.5557b6p-3f) * r + 0x1.fffdf8p-2f;
    return 1.0f + (r + r * r * tail);
}

inline Floats exp(Floats x) {
    x = clamp(x, -104.0f, 89.0f);
    const Whole n = nearest(x * log2_e);
    const Floats r = (x - n.value * 0x1.62e4p-1f) - n.value * 0x1.7f7d1cp-20f;
    return scale(exp_near_zero(r), n.integer);
}

// 2^(high + low) for |high| <= 200 and low small beside 1.
inline Floats exp2(Floats high, Floats low) {
    const Whole n = nearest(high);
    return scale(exp_near_zero(((high - n.value) + low) * 0x1.62e43p-1f), n.integer);
}

// log(x) = exponent * log(2) + head + tail, for finite x > 0.
struct LogParts {
    Floats exponent;
    Floats head;  // f - f^2 / 2, where 1 + f is the significand, in [sqrt(1/2), sqrt(2))
    Floats tail;  // the rest of log(1 + f), within 2^-27.3 of the sum
};
inline LogParts log_parts(Floats x) {
    const Mask subnormal = x < 0x1p-126f;
    const Words root_half = as_words(splat(0x1.6a09e6p-1f));
    const Words word = as_words(subnormal ? x * 0x1p23f : x) - root_half;
    const Floats exponent = __builtin_convertvector(__builtin_bit_cast(Ints, word) >> 23, Floats);
    const Floats f = as_floats((word & 0x007fffffu) + root_half) - 1.0f;
    Floats tail = -0x1.38e2a0p-4f * f + 0x1.056cd2p-3f;
    tail = tail * f - 0x1.0d844ap-3f;
    tail = tail * f + 0x1.22d752p-3f;
    tail = tail * f - 0x1.54721cp-3f;
    tail = tail * f + 0x1.99a02cp-3f;
    tail = tail * f - 0x1.000228p-2f;
    tail = tail * f + 0x1.555554p-2f;
    const Floats square = f * f;
    return {subnormal ? exponent - 23.0f : exponent, f - 0.5f * square, square * f * tail};
}

inline Floats log(Floats x) {
    const LogParts parts = log_parts(x);
    const Floats low = parts.head + (parts.tail + parts.exponent * 0x1.7f7d1cp-20f);
    Floats y = parts.exponent * 0x1.62e4p-1f + low;
    y = x < infinity ? y : x;
    y = x > 0.0f ? y : not_a_number;
    return x == 0.0f ? -infinity : y;
}

// x^y, with the special cases of C99. The error stays below 2^-20 where y has at most 11 significant bits, as an
// fp16 has: log2|x| is a number of 13 bits, whose product with y is exact, and a remainder.
inline Floats pow(Floats x, Floats y) {
    const Floats a = abs(x);
    const LogParts parts = log_parts(a);
    const Floats head = leading_bits<12>(parts.head);
    const Floats product = head * 0x1.716p0f;  // exact: log2(e) = 0x1.716p0 - 0x1.7135a8p-13
    const Floats correction = (parts.head - head + parts.tail) * log2_e - head * 0x1.7135a8p-13f;
    const Floats sum = parts.exponent + product;
    const Floats lost = product - (sum - parts.exponent);
    Floats high = leading_bits<13>(sum + correction);
    const Floats low = (sum - high) + (lost + correction);
    high = a == 0.0f ? -infinity : (a == infinity ? infinity : high);

    const Floats power = clamp(y * high, -200.0f, 200.0f);
    Floats result = exp2(power, abs(power) < 200.0f ? y * low : 0.0f);
    result = a == 1.0f ? 1.0f : result;

    // Every fp32 from 2^24 on is an even whole number.
    Floats bounded = y < 0x1p24f ? y : 0x1p24f;
    bounded = bounded > -0x1p24f ? bounded : -0x1p24f;
    const Ints integer = __builtin_convertvector(bounded, Ints);
    const Mask whole = __builtin_convertvector(integer, Floats) == bounded;
    const Words odd = __builtin_bit_cast(Words, whole & integer) << 31;
    result = as_floats(as_words(result) | (sign_of(x) & odd));

    const Mask undefined = ((x < 0.0f) & (a < infinity) & ~whole) | (x != x) | (y != y);
    result = undefined ? not_a_number : result;
    const Mask one = (x == 1.0f) | (y == 0.0f);
    return one ? 1.0f : result;
}

inline Floats tanh(Floats x) {
    const Floats a = abs(x);
    const Floats square = a * a;
    // Within 2^-22.9 for a <= 0.625.
    const Floats bend = ((0x1.f1efa4p-7f * square - 0x1.a98f62p-5f) * square + 0x1.108d36p-3f) * square - 0x1.5552bcp-2f;
    const Floats near = a + a * square * bend;
    const Floats far = 1.0f - 2.0f / (exp(a + a) + 1.0f);
    return as_floats(as_words(a < 0.625f ? near : far) | sign_of(x));
}

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }

// x / (1 + e), where e is infinite at x = -infinity.
inline Floats gated(Floats x, Floats e) { return (x < -largest ? -largest : x) / (1.0f + e); }

inline Floats silu(Floats x) { return gated(x, exp(-x)); }

// x * sigmoid(1.702 x). The exponent in two parts: the first factor has 13 bits, so its product with an fp16 is exact.
inline Floats gelu_sigmoid(Floats x) {
    const Floats bounded = clamp(x, -60.0f, 60.0f);
    return gated(x, exp2(bounded * -0x1.3a50p1f, bounded * 0x1.a11c08p-14f));
}

// x * (1 + tanh(u)) / 2 = x * sigmoid(2u), where u = sqrt(2 / pi) * (x + 0.044715 x^3).
inline Floats gelu_tanh(Floats x) {
    const Floats bounded = clamp(x, -11.0f, 11.0f);
    // 2u / log(2) = bounded * (linear + cubic), in two parts
    const Floats linear = splat(0x1.26aec2p1f);  // and 0x1.bce75ap-27
    const Floats cubic = bounded * bounded * 0x1.a5a7d0p-4f;
    const Floats sum = linear + cubic;
    const Floats high = leading_bits<13>(sum);
    const Floats low = (sum - high) + ((cubic - (sum - linear)) + 0x1.bce75ap-27f);
    return gated(x, exp2(-bounded * high, -bounded * low));
}

// x * Phi(x), Phi being the normal distribution function. Phi(-a) = exp(-a^2 / 2) * Mills ratio(a) / sqrt(2 pi), so that no
// cancellation spoils the negative side; the square of an fp16 is exact.
inline Floats gelu_exact(Floats x) {
    const Floats finite = x < -largest ? -largest : x;
    const Floats a = abs(finite);
    // The ratio as a polynomial in u, within 2^-22.6 for a <= 14: beyond, the exponential is zero.
    const Floats u = 1.0f / (1.0f + 0.3f * a);
    Floats ratio = 0x1.243f20p-5f * u - 0x1.41f35ap-3f;
    ratio = ratio * u + 0x1.a69c08p-3f;
    ratio = ratio * u - 0x1.b7c440p-5f;
    ratio = ratio * u + 0x1.074af8p-3f;
    ratio = ratio * u + 0x1.993f1cp-4f;
    ratio = ratio * u + 0x1.ee9baap-4f;
    ratio = ratio * u + 0x1.ea006ap-4f;
    const Floats tail = exp(-0.5f * (a * a)) * (u * ratio);
    return finite * (x < 0.0f ? tail : 1.0f - tail);
}

}  // namespace
}  // namespace ane::emulator
