#include "engine_numbers.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace ane::emulator {

namespace {

constexpr int least_exponent = -14;  // of subnormal numbers too
constexpr int fraction_bits = 10;
constexpr uint64_t infinite_bits = 0x7c00;

cpu::half signed_half(bool is_negative, uint64_t magnitude) {
    return static_cast<cpu::half>(is_negative && magnitude != 0 ? magnitude | 0x8000 : magnitude);
}

}  // namespace

double engine_number(cpu::half bits) {
    const int exponent = bits >> fraction_bits & 31, fraction = bits & 1023;
    const double magnitude = exponent == 0
                                 ? std::ldexp(fraction, least_exponent - fraction_bits)
                                 : std::ldexp(fraction + 1024, exponent - 1 + least_exponent - fraction_bits);
    return bits & 0x8000 ? -magnitude : magnitude;
}

cpu::half engine_half(double x) {
    const double magnitude = std::min(std::abs(x), 65536.0);
    if (!(magnitude > 0)) return 0;
    const int exponent = std::max(std::ilogb(magnitude), least_exponent);
    // Hidden bit and fraction: the hidden bit of a normal number adds 1 to the exponent, and so does a carry.
    const double significand = std::round(std::ldexp(magnitude, fraction_bits - exponent));
    const auto word = (static_cast<uint64_t>(exponent - least_exponent) << fraction_bits) +
                      static_cast<uint64_t>(significand);
    return signed_half(x < 0, std::min(word, infinite_bits));
}

cpu::half engine_half(Units numerator, int64_t denominator, cpu::Rounding rounding) {
    const bool is_negative = numerator < 0;
    const Units magnitude = is_negative ? -numerator : numerator;
    if (magnitude >= Units{static_cast<int64_t>(rounding.overflow * 0x1p24f)} * denominator)
        return signed_half(is_negative, infinite_bits);
    const auto whole = static_cast<uint64_t>(magnitude / denominator);
    const int shift = std::max(0, static_cast<int>(std::bit_width(whole)) - fraction_bits - 1);
    const Units unit = Units{denominator} << shift;
    const uint64_t word = (static_cast<uint64_t>(shift) << fraction_bits) +
                          static_cast<uint64_t>((2 * magnitude + unit) / (2 * unit));
    return signed_half(is_negative, std::min(word, infinite_bits));
}

}  // namespace ane::emulator
