// fp16 <-> fp32, in hardware where the level has it: the same bits either way.
#pragma once

#include "kernels.h"
#include "vector.h"

namespace ane::cpu::ANEPERF_SIMD_LEVEL {
namespace {

// `widen` is exact; a signaling NaN becomes quiet. `narrow` rounds to nearest, ties to even, and takes no
// NaN but __builtin_nanf(""), since processors differ in what they keep of the others.
#if defined(__AVX512F__)
inline Floats widen(Halves x) { return _mm512_maskz_cvtph_ps(every_lane, __builtin_bit_cast(__m256i, x)); }
inline Halves narrow(Floats x) {
    return __builtin_bit_cast(Halves, _mm512_maskz_cvtps_ph(every_lane, x, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__AVX2__)
inline Floats widen(Halves x) { return _mm256_cvtph_ps(__builtin_bit_cast(__m128i, x)); }
inline Halves narrow(Floats x) {
    return __builtin_bit_cast(Halves, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__aarch64__)
inline Floats widen(Halves x) {
    return __builtin_bit_cast(Floats, vcvt_f32_f16(__builtin_bit_cast(float16x4_t, x)));
}
inline Halves narrow(Floats x) {
    return __builtin_bit_cast(Halves, vcvt_f16_f32(__builtin_bit_cast(float32x4_t, x)));
}
#else
inline Floats widen(Halves x) {
    const Ints word = __builtin_convertvector(x, Ints);
    const Ints magnitude = (word & 0x7fff) << 13;
    // The exponent's bias grows from 15 to 127; that of infinity and NaN from 31 to 255.
    Ints wide = magnitude + (112 << 23);
    wide = magnitude >= (31 << 23) ? wide + (112 << 23) : wide;
    wide = magnitude > (31 << 23) ? wide | 0x00400000 : wide;
    // A subnormal m * 2^-24 is read as (1 + m / 2^10) * 2^-14, and 2^-14 subtracted.
    const Floats subnormal = as_floats(magnitude + (113 << 23)) - 0x1p-14f;
    wide = magnitude < (1 << 23) ? as_ints(subnormal) : wide;
    return as_floats(wide | word >> 15 << 31);
}
inline Halves narrow(Floats x) {
    const Ints word = as_ints(x);
    const Ints magnitude = word & 0x7fffffff;
    // Adding just under half, and one more where the last kept bit is odd, carries as ties to even should.
    const Ints rounded = (magnitude - (112 << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    // The spacing of fp32 just above 0.5 is that of subnormal halves, 2^-24: the addition rounds.
    const Ints subnormal = as_ints(as_floats(magnitude) + 0.5f) - as_ints(splat(0.5f));
    Ints result = magnitude < (113 << 23) ? subnormal : rounded;
    result = magnitude >= (143 << 23) ? 0x7c00 : result;
    result = magnitude > (255 << 23) ? 0x7e00 : result;
    return __builtin_convertvector(result | (word >> 16 & 0x8000), Halves);
}
#endif

// x, or `instead` where x is NaN.
#if defined(__AVX512F__)
inline Floats defined(Floats x, float instead) {
    // By kind of number, from the lowest bits on: a quiet or a signaling NaN takes 0, all else 1 for x.
    const Ints choices = Ints{} + 0x11111100;
    return _mm512_fixupimm_ps(splat(instead), x, __builtin_bit_cast(__m512i, choices), 0);
}
#else
inline Floats defined(Floats x, float instead) { return x == x ? x : splat(instead); }
#endif

inline Halves narrow_any(Floats x) { return narrow(defined(x, __builtin_nanf(""))); }

// True if any element is not zero.
inline bool any(Halves x) {
    using Long [[gnu::vector_size(sizeof(Halves))]] = uint64_t;
    const Long parts = __builtin_bit_cast(Long, x);
    uint64_t all = 0;
    for (size_t i = 0; i < sizeof(Halves) / sizeof(uint64_t); ++i) all |= parts[i];
    return all != 0;
}

// As the engine reads fp16: exponent 31 becomes that of 65536, which few numbers have.
inline Floats decode(Halves x) {
    using Shorts [[gnu::vector_size(sizeof(Halves))]] = int16_t;
    const Halves magnitude = x & 0x7fff;
    if (!any(__builtin_bit_cast(Halves, __builtin_bit_cast(Shorts, magnitude) > 0x7bff))) return widen(x);
    const Ints word = __builtin_convertvector(x, Ints), size = word & 0x7fff;
    const Ints large = ((size << 13) + (112 << 23)) | word >> 15 << 31;
    return as_floats(size >= 0x7c00 ? large : as_ints(widen(x)));
}

// As the engine rounds.
inline Halves narrow_away(Floats x, float overflow) {
    const Words word = as_words(x), sign = word & 0x80000000u;
    // A tie has its low bits clear. Setting the lowest makes it lean away from zero, and takes no other value
    // to a tie or past one.
    const Floats leaning = as_floats(word | 1u);
    const Floats bounded = as_floats(word ^ sign) < overflow ? leaning : as_floats(sign | 0x7f800000u);
    const Halves rounded = narrow(x == x ? bounded : Floats{});
    return rounded == 0x8000 ? Halves{} : rounded;
}

inline Halves narrow(Floats x, Rounding rounding) {
    if (rounding.numbers == Numbers::engine) return narrow_away(x, rounding.overflow);
    const Words sign = as_words(x) & 0x80000000u;
    const Mask is_large = as_floats(as_words(x) ^ sign) >= rounding.overflow;
    return narrow_any(is_large ? as_floats(sign | 0x7f800000u) : x);
}

// Calls apply(read, round) with the functions that convert.
template <class Apply>
inline void with_numbers(Numbers numbers, Apply apply) {
    if (numbers == Numbers::engine)
        apply([](Halves x) { return decode(x); },
              [](Floats x) { return narrow_away(x, Rounding{}.overflow); });
    else
        apply([](Halves x) { return widen(x); }, [](Floats x) { return narrow_any(x); });
}

}  // namespace
}  // namespace ane::cpu::ANEPERF_SIMD_LEVEL
