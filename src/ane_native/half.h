// IEEE binary16 as bits, one value at a time. Tiles go through emulator/simd.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace ane {

inline float half_to_float(uint16_t bits) {
    const float sign = bits & 0x8000 ? -1.0f : 1.0f;
    const int exponent = bits >> 10 & 0x1f;
    const int mantissa = bits & 0x3ff;
    if (exponent == 31) return mantissa ? std::bit_cast<float>(0x7fc00000u) : sign * HUGE_VALF;
    if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
    return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

}  // namespace ane
