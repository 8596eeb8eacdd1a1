// The widest vectors of the SIMD level being compiled, on the compilers' vector extension.
// Only sources that are compiled for each level may include this. Everything is local to the including
// file, and no standard header with functions is used: the linker must never pick wide code for a narrow
// level.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__FAST_MATH__)
#error "the kernels need exact fp32 arithmetic: compile them without -ffast-math"
#endif

namespace ane::cpu::ANEPERF_SIMD_LEVEL {
namespace {

#if defined(__AVX512F__)
constexpr const char* level = "avx512";
constexpr size_t vector_bytes = 64;
// GCC 12 warns of uninitialized values inside the unmasked intrinsics.
constexpr __mmask16 every_lane = 0xffff;
#elif defined(__AVX2__)
constexpr const char* level = "avx2";
constexpr size_t vector_bytes = 32;
#elif defined(__aarch64__)
constexpr const char* level = "neon";
constexpr size_t vector_bytes = 16;
#else
constexpr const char* level = "baseline";
constexpr size_t vector_bytes = 16;
#endif

constexpr size_t lanes = vector_bytes / sizeof(float);

using Floats [[gnu::vector_size(vector_bytes)]] = float;
using Words [[gnu::vector_size(vector_bytes)]] = uint32_t;
using Ints [[gnu::vector_size(vector_bytes)]] = int32_t;  // for what cannot overflow: Words wrap
using Halves [[gnu::vector_size(vector_bytes / 2)]] = uint16_t;
using Bytes [[gnu::vector_size(vector_bytes / 4)]] = uint8_t;
using Doubles [[gnu::vector_size(2 * vector_bytes)]] = double;
using Longs [[gnu::vector_size(2 * vector_bytes)]] = int64_t;
using Mask = Ints;  // all ones where true, zero where false: what a comparison of Floats yields

// The same bits, read as another type.
inline Words as_words(Floats x) { return __builtin_bit_cast(Words, x); }
inline uint32_t as_words(float x) { return __builtin_bit_cast(uint32_t, x); }
inline Ints as_ints(Floats x) { return __builtin_bit_cast(Ints, x); }
inline Floats as_floats(Words x) { return __builtin_bit_cast(Floats, x); }
inline Floats as_floats(Ints x) { return __builtin_bit_cast(Floats, x); }
inline float as_floats(uint32_t x) { return __builtin_bit_cast(float, x); }

// Subtracting +0 keeps every value, -0 too.
inline Floats splat(float x) { return x - Floats{}; }

// a < b ? a : b, and a > b ? a : b: b where either is NaN. In intrinsics, because GCC 12 finds the
// instruction only if neither is a constant.
#if defined(__AVX512F__)
inline Floats lesser(Floats a, Floats b) { return _mm512_maskz_min_ps(every_lane, a, b); }
inline Floats greater(Floats a, Floats b) { return _mm512_maskz_max_ps(every_lane, a, b); }
#elif defined(__AVX2__)
inline Floats lesser(Floats a, Floats b) { return _mm256_min_ps(a, b); }
inline Floats greater(Floats a, Floats b) { return _mm256_max_ps(a, b); }
#elif defined(__SSE2__)
inline Floats lesser(Floats a, Floats b) { return _mm_min_ps(a, b); }
inline Floats greater(Floats a, Floats b) { return _mm_max_ps(a, b); }
#else
inline Floats lesser(Floats a, Floats b) { return a < b ? a : b; }
inline Floats greater(Floats a, Floats b) { return a > b ? a : b; }
#endif

template <class Vector, class T>
inline Vector load(const T* p) {
    Vector v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

template <class Vector, class T>
inline void store(T* p, Vector v) {
    __builtin_memcpy(p, &v, sizeof v);
}

// Copies count < lanes elements, in pieces of fixed size: a call of memcpy would spill every vector register.
template <class T>
inline void copy(T* to, const T* from, size_t count) {
    for (size_t piece = lanes / 2; piece > 0; piece /= 2) {
        if ((count & piece) == 0) continue;
        __builtin_memcpy(to, from, piece * sizeof(T));
        to += piece;
        from += piece;
    }
}

// Only `count` elements are touched; the other lanes are zero.
template <class Vector, class T>
inline Vector load(const T* p, size_t count) {
    if (count == lanes) return load<Vector>(p);
    T elements[lanes] = {};
    copy(elements, p, count);
    return load<Vector>(elements);
}

template <class Vector, class T>
inline void store(T* p, Vector v, size_t count) {
    if (count == lanes) return store(p, v);
    T elements[lanes];
    store(elements, v);
    copy(p, elements, count);
}

// y[i] = function(x[i]); y may be x.
template <class Vector, class T, class U, class Function>
inline void map(const T* x, U* y, size_t n, Function function) {
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) store(y + i, function(load<Vector>(x + i)));
    if (i < n) store(y + i, function(load<Vector>(x + i, n - i)), n - i);
}

}  // namespace
}  // namespace ane::cpu::ANEPERF_SIMD_LEVEL
