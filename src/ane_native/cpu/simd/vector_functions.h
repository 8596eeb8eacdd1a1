// The rarer elementary functions, by the rules of vector_math.h.
#pragma once

#include "vector_math.h"

namespace ane::cpu::ANEPERF_SIMD_LEVEL {
namespace {

// x without its fraction; whole numbers, infinities and NaN stay, and so does the sign of a zero.
inline Floats truncate(Floats x) {
    const Floats bounded = greater(lesser(x, splat(0x1p23f)), splat(-0x1p23f));
    const Floats whole = __builtin_convertvector(__builtin_convertvector(bounded, Ints), Floats);
    return as_floats(as_words(abs(x) < 0x1p23f ? whole : x) | sign_of(x));
}

inline Floats floor(Floats x) {
    const Floats whole = truncate(x);
    return as_floats(as_words(whole > x ? whole - 1.0f : whole) | sign_of(x));
}

inline Floats ceil(Floats x) {
    const Floats whole = truncate(x);
    return as_floats(as_words(whole < x ? whole + 1.0f : whole) | sign_of(x));
}

inline Floats round_half_even(Floats x) {
    const Floats a = abs(x);
    return as_floats(as_words(a < 0x1p22f ? nearest(a).value : a) | sign_of(x));
}

inline Floats sign(Floats x) {
    const Floats one = as_floats(as_words(splat(1.0f)) | sign_of(x));
    return x == 0.0f ? Floats{} : (x == x ? one : x);
}

inline Floats softsign(Floats x) {
    const Floats bounded = as_floats(as_words(lesser(abs(x), splat(largest))) | sign_of(x));
    return x == x ? bounded / (1.0f + abs(bounded)) : x;
}

// 2^n (1 + p) - 1 without the cancellation; p = e^r - 1, within 2^-25.9.
inline Floats exp_minus_1(Floats x) {
    const auto [n, r] = reduce_exponent(x);
    constexpr float c[] = {0x1p-1f, 0x1.5554aep-3f, 0x1.555484p-5f, 0x1.12297p-7f, 0x1.6d9b06p-10f};
    return scale(r + r * r * polynomial(r, c), n) + (scale(splat(1.0f), n) - 1.0f);
}

// log(1 + e^x) = max(x, 0) + log(1 + u), with u = e^-|x|; log(1 + u) / u to 2^-24.5 for 0 <= u <= 1.
inline Floats softplus(Floats x) {
    constexpr float c[] = {0x1p0f,         -0x1.ffffbep-2f, 0x1.554c80p-2f, -0x1.ff0f86p-3f,
                           0x1.92f68cp-3f, -0x1.397544p-3f, 0x1.b252fcp-4f, -0x1.d29c04p-5f,
                           0x1.453e3ap-6f, -0x1.a931f0p-9f};
    const Floats u = exp(-abs(x));
    return maximum(x, Floats{}) + u * polynomial(u, c);
}

inline Floats erf(Floats x) {
    const Floats a = abs(x);
    const Floats square = a * a;
    constexpr float c[] = {0x1.20dd74p0f,   -0x1.812706p-2f, 0x1.ce201ap-4f,
                           -0x1.b6e306p-6f, 0x1.495d7cp-8f,  -0x1.434c82p-11f};
    const Floats near = a * polynomial(square, c);  // within 2^-23.8 for a <= 0.875
    const Floats far = 1.0f - 2.0f * (exp(-square) * normal_tail_ratio(a * 0x1.6a09e6p0f));
    return as_floats(as_words(a <= 0.875f ? near : far) | sign_of(x));
}

// atan(t) for t = min(a, 1 / a), to 2^-25; beyond 1 its complement.
inline Floats atan(Floats x) {
    const Floats a = abs(x);
    const Floats t = a > 1.0f ? 1.0f / a : a;
    const Floats square = t * t;
    constexpr float c[] = {-0x1.5554dcp-2f, 0x1.9978f4p-3f, -0x1.230ad8p-3f, 0x1.b4e10cp-4f,
                           -0x1.355672p-4f, 0x1.61fd38p-5f, -0x1.0c2b4cp-6f, 0x1.7ed09ep-9f};
    const Floats near = t + t * (square * polynomial(square, c));
    return as_floats(as_words(a > 1.0f ? 0x1.921fb6p0f - near : near) | sign_of(x));
}

// sin(x + quarters * pi / 2) for |x| <= 2^16 or infinite. x is brought to within pi / 4 by a multiple of
// pi / 2 in four parts: the first three products are exact, so that what is left errs by 2^-32 at most.
inline Floats sine(Floats x, uint32_t quarters) {
    const Whole n = nearest(x * 0x1.45f306p-1f);
    const Floats r = (((x - n.value * 0x1.92p0f) - n.value * 0x1.ep-12f) - n.value * 0x1.b4p-16f) -
                     n.value * 0x1.4442d2p-24f;
    const Floats square = r * r;
    constexpr float s[] = {-0x1.555546p-3f, 0x1.110730p-7f, -0x1.994060p-13f};
    constexpr float c[] = {0x1.55554ap-5f, -0x1.6c0c28p-10f, 0x1.99e868p-16f};
    const Floats sine = r + r * (square * polynomial(square, s));                            // within 2^-26.7
    const Floats cosine = (1.0f - 0.5f * square) + square * square * polynomial(square, c);  // and 2^-32
    const Words turns = n.integer + quarters;
    const Floats either = as_floats((turns & 1u) != 0u ? as_words(cosine) : as_words(sine));
    const Floats result = as_floats(as_words(either) ^ ((turns & 2u) << 30));
    return x - x == 0.0f ? result : not_a_number;
}

}  // namespace
}  // namespace ane::cpu::ANEPERF_SIMD_LEVEL
