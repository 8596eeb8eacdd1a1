// Elementary functions on vectors of fp32, from correctly rounded operations alone: +, -, *, /, square root,
// fused multiply-add, integer operations and selections. So every level and every machine gets the same bits,
// but for those of a NaN. Polynomials are minimax fits; an error stated is relative, and the polynomial's
// own.
#pragma once

#include "vector.h"

namespace ane::cpu::ANEPERF_SIMD_LEVEL {
namespace {

constexpr float infinity = __builtin_inff();
constexpr float not_a_number = __builtin_nanf("");
constexpr float largest = 0x1.fffffep127f;
constexpr float log_2 = 0x1.62e43p-1f;   // log(2)
constexpr float log2_e = 0x1.715476p0f;  // log2(e)

inline Words sign_of(Floats x) { return as_words(x) & 0x80000000u; }
inline Floats abs(Floats x) { return as_floats(as_words(x) & 0x7fffffffu); }
// The `count` leading bits of the significand. A product is exact if the bits of its factors sum to 24.
template <int count>
inline Floats leading_bits(Floats x) {
    return as_floats(as_words(x) & (0xffffffffu << (24 - count)));
}

// NaN stays NaN.
inline Floats clamp(Floats x, float low, float high) { return greater(splat(low), lesser(splat(high), x)); }

// IEEE 754-2019 maximum and minimum, of Floats or floats: NaN if either is NaN, and -0 < +0.
template <class T>
inline T maximum(T a, T b) {
    const T larger = a > b ? a : b;
    const T same = as_floats(as_words(a) & as_words(b));
    return a == b ? same : (a == a ? larger : a);
}
template <class T>
inline T minimum(T a, T b) {
    const T smaller = a < b ? a : b;
    const T same = as_floats(as_words(a) | as_words(b));
    return a == b ? same : (a == a ? smaller : a);
}

inline Floats sqrt(Floats x) {
    for (size_t i = 0; i < lanes; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
}

// a * b + c, rounded once.
#if defined(__AVX512F__)
inline Floats fused(Floats a, Floats b, Floats c) { return _mm512_maskz_fmadd_ps(every_lane, a, b, c); }
#elif defined(__AVX2__)
inline Floats fused(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
#elif defined(__aarch64__)
inline Floats fused(Floats a, Floats b, Floats c) {
    return __builtin_bit_cast(
        Floats, vfmaq_f32(__builtin_bit_cast(float32x4_t, c), __builtin_bit_cast(float32x4_t, a),
                          __builtin_bit_cast(float32x4_t, b)));
}
#else
inline Floats fused(Floats a, Floats b, Floats c) {
    const Doubles product = __builtin_convertvector(a, Doubles) * __builtin_convertvector(b, Doubles);
    const Doubles term = __builtin_convertvector(c, Doubles);
    const Doubles sum = product + term;
    const Doubles of_term = sum - product;
    const Doubles error = (product - (sum - of_term)) + (term - of_term);
    // The product is exact, the sum is not. Moved to the neighbor whose last bit is set, it lies on the same
    // side of every fp32, and of every tie between two, as the exact sum.
    const Longs bits = __builtin_bit_cast(Longs, sum);
    const Longs away = (error > 0.0) ^ (sum < 0.0) ? Longs{} + 1 : Longs{} - 1;
    const Longs is_moved = ((error > 0.0) | (error < 0.0)) & ((bits & 1) == 0);
    return __builtin_convertvector(__builtin_bit_cast(Doubles, bits + (away & is_moved)), Floats);
}
#endif
inline Floats fused(Floats a, Floats b, float c) { return fused(a, b, splat(c)); }
inline Floats fused(Floats a, float b, Floats c) { return fused(a, splat(b), c); }

// c[0] + c[1] x + ..., even and odd powers apart, which halves Horner's chain of dependent operations.
template <size_t count>
inline Floats polynomial(Floats x, const float (&c)[count]) {
    const Floats square = x * x;
    Floats accumulators[2] = {splat(c[count - 2]), splat(c[count - 1])};
    for (size_t i = count - 2; i > 1; i -= 2) {
        accumulators[0] = fused(accumulators[0], square, c[i - 2]);
        accumulators[1] = fused(accumulators[1], square, c[i - 1]);
    }
    if constexpr (count % 2 == 0) return fused(accumulators[1], x, accumulators[0]);
    return fused(accumulators[1], square, fused(accumulators[0], x, c[0]));
}

struct Whole {
    Floats value;
    Words integer;
};
// The nearest whole number, for |x| < 2^22: adding 1.5 * 2^23 leaves it in the low bits.
constexpr float shift = 0x1.8p23f;
inline Whole unshifted(Floats x) { return {x - shift, as_words(x) - 0x4b400000u}; }
inline Whole nearest(Floats x) { return unshifted(x + shift); }

// x * 2^n for -252 <= n <= 254, which may overflow, or round to a subnormal.
#if defined(__AVX512F__)
inline Floats scale(Floats x, Whole n) { return _mm512_maskz_scalef_ps(every_lane, x, n.value); }
#else
inline Floats scale(Floats x, Whole n) {
    // In two factors, since 2^n itself may not be a normal number.
    const Words exponent = n.integer + 254u;
    const Words first = exponent >> 1;
    return x * as_floats(first << 23) * as_floats((exponent - first) << 23);
}
#endif

// e^r for |r| <= 0.3475, within 2^-23.1.
inline Floats exp_near_zero(Floats r) {
    constexpr float c[] = {0x1.fffdf8p-2f, 0x1.5557b6p-3f, 0x1.572c20p-5f, 0x1.1060cep-7f};
    return 1.0f + fused(r * r, polynomial(r, c), r);
}

// x = n log(2) + r, for exponentials neither infinite nor zero.
struct Reduced {
    Whole n;
    Floats r;
};
inline Reduced reduce_exponent(Floats x) {
    x = clamp(x, -104.0f, 89.0f);
    const Whole n = unshifted(fused(x, log2_e, splat(shift)));
    return {n, fused(n.value, -0x1.7f7d1cp-20f, fused(n.value, -0x1.62e4p-1f, x))};
}

inline Floats exp(Floats x) {
    const auto [n, r] = reduce_exponent(x);
    return scale(exp_near_zero(r), n);
}

// 2^(high + low) for |high| <= 200 and low small beside 1.
inline Floats exp2(Floats high, Floats low) {
    const Whole n = nearest(high);
    return scale(exp_near_zero(((high - n.value) + low) * log_2), n);
}

// log2(x) = exponent + head + tail for finite x > 0. The significand is 1 + f, in [sqrt(1/2), sqrt(2)); head
// is f times the 13 leading bits of log2(e), exact if x is an fp16; head + tail is log2(1 + f), to 2^-27.6.
struct Log2 {
    Floats exponent;
    Floats head;
    Floats tail;
};
inline Log2 log2(Floats x) {
    const Mask subnormal = x < 0x1p-126f;
    const Words root_half = as_words(splat(0x1.6a09e6p-1f));
    const Words word = as_words(subnormal ? x * 0x1p23f : x) - root_half;
    const Floats exponent = __builtin_convertvector(__builtin_bit_cast(Ints, word) >> 23, Floats);
    const Floats f = as_floats((word & 0x007fffffu) + root_half) - 1.0f;
    constexpr float c[] = {-0x1.715470p-1f, 0x1.ec7094p-2f,  -0x1.715afep-2f, 0x1.277f44p-2f, -0x1.eaa24ap-3f,
                           0x1.a2c9dep-3f,  -0x1.87f7eep-3f, 0x1.7f27f4p-3f,  -0x1.c39b06p-4f};
    return {subnormal ? exponent - 23.0f : exponent, f * 0x1.715p0f,
            f * (f * polynomial(f, c) + 0x1.1d94aep-14f)};
}

inline Floats log(Floats x) {
    const Log2 parts = log2(x);
    Floats y = (parts.exponent + (parts.head + parts.tail)) * log_2;
    y = x < infinity ? y : x;
    y = x > 0.0f ? y : not_a_number;
    return x == 0.0f ? -infinity : y;
}

// x^y, with the special cases of C99. For fp16 x and y, and a result in fp16's range, the error is below
// 2^-20: log2|x| is taken as a number of 13 bits, whose product with the 11 of y is exact, and a remainder.
inline Floats pow(Floats x, Floats y) {
    const Floats a = abs(x);
    const Log2 parts = log2(a);
    const Floats sum = parts.exponent + parts.head;
    const Floats rest = (parts.head - (sum - parts.exponent)) + parts.tail;
    Floats high = leading_bits<13>(sum + rest);
    const Floats low = (sum - high) + rest;
    high = a < infinity ? high : a;
    high = a == 0.0f ? -infinity : high;

    // Larger powers of any number but 1 and -1 overflow or vanish too, and these bounds are even integers.
    const Floats most = splat(0x1.fffffep30f);
    const Floats bounded = greater(lesser(y, most), -most);
    const Floats power = clamp(bounded * high, -200.0f, 200.0f);
    const Floats magnitude = exp2(power, clamp(bounded * low, -0.0625f, 0.0625f));

    const Ints integer = __builtin_convertvector(bounded, Ints);
    const Mask whole = __builtin_convertvector(integer, Floats) == bounded;
    const Words odd = __builtin_bit_cast(Words, whole ? integer << 31 : 0);
    Floats result = as_floats(as_words(magnitude) | (sign_of(x) & odd));
    const Mask undefined = ((x < 0.0f) & (a < infinity) & ~whole) | (y != y);
    result = undefined ? not_a_number : result;
    const Mask one = (x == 1.0f) | (y == 0.0f);
    return one ? 1.0f : result;
}

inline Floats tanh(Floats x) {
    const Floats a = abs(x);
    const Floats square = a * a;
    constexpr float c[] = {-0x1.5552bcp-2f, 0x1.108d36p-3f, -0x1.a98f62p-5f, 0x1.f1efa4p-7f};
    const Floats near = a + a * square * polynomial(square, c);  // within 2^-22.9 for a <= 0.625
    const Floats far = 1.0f - 2.0f / (exp(a + a) + 1.0f);
    return as_floats(as_words(a < 0.625f ? near : far) | sign_of(x));
}

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }

// x / (1 + e), and -0 at x = -infinity, where e is infinite too.
inline Floats gated(Floats x, Floats e) { return greater(splat(-largest), x) / (1.0f + e); }

inline Floats silu(Floats x) { return gated(x, exp(-x)); }

// x * sigmoid(1.702 x). The exponent is in two parts, 1.702 log2(e) being a number of 13 bits and a
// remainder. Beyond the bounds e is 0 or infinite, and x / (1 + e) as well.
inline Floats gelu_sigmoid(Floats x) {
    const Floats bounded = clamp(x, -60.0f, 60.0f);
    return gated(x, exp2(bounded * -0x1.3a50p1f, bounded * 0x1.a11c08p-14f));
}

// x * (1 + tanh(u)) / 2 = x * sigmoid(2u), where u = sqrt(2 / pi) * (x + 0.044715 x^3).
inline Floats gelu_tanh(Floats x) {
    const Floats bounded = clamp(x, -11.0f, 11.0f);
    // 2u / log(2) = x * (linear + cubic) = x * high + x * low, the first product exact for an fp16.
    const Floats linear = splat(0x1.26aec2p1f);  // and 0x1.bce75ap-27
    const Floats cubic = bounded * bounded * 0x1.a5a7d0p-4f;
    const Floats sum = linear + cubic;
    const Floats high = leading_bits<13>(sum);
    const Floats low = (sum - high) + ((cubic - (sum - linear)) + 0x1.bce75ap-27f);
    return gated(x, exp2(-bounded * high, -bounded * low));
}

// erfc(a / sqrt(2)) / 2 without its factor exp(-a^2 / 2): a smooth function, within 2^-22.6 for 0 <= a <= 14.
inline Floats normal_tail_ratio(Floats a) {
    const Floats u = 1.0f / (1.0f + 0.3f * a);
    constexpr float c[] = {0x1.ea006ap-4f,  0x1.ee9baap-4f, 0x1.993f1cp-4f,  0x1.074af8p-3f,
                           -0x1.b7c440p-5f, 0x1.a69c08p-3f, -0x1.41f35ap-3f, 0x1.243f20p-5f};
    return u * polynomial(u, c);
}

// x * Phi(x), where Phi(x) = erfc(-x / sqrt(2)) / 2. As Phi(-a) = exp(-a^2 / 2) * ratio(a), no cancellation
// spoils the negative side; and the square of an fp16 is exact. Beyond 14 the exponential is zero.
inline Floats gelu_exact(Floats x) {
    const Floats finite = greater(splat(-largest), x);
    const Floats a = abs(finite);
    const Floats tail = exp(-0.5f * (a * a)) * normal_tail_ratio(a);
    return finite * (x < 0.0f ? tail : 1.0f - tail);
}

}  // namespace
}  // namespace ane::cpu::ANEPERF_SIMD_LEVEL
