// fp16 as the engine computes with it, one number at a time.
#pragma once

#include <cstdint>

#include "cpu/simd/kernels.h"

namespace ane::emulator {

// Exponent 31 is one more exponent: 0x7c00 is 65536 and 0x7fff 131008.
double engine_number(cpu::half bits);
// The nearest fp16, a tie away from zero. 65520 and more are infinite, zero is positive, an undefined value
// is 0.
cpu::half engine_half(double x);
// The same of numerator / denominator in units of 2^-24, the denominator being positive and at most 2^24.
cpu::half engine_half(int64_t numerator, int64_t denominator, cpu::Rounding rounding);

}  // namespace ane::emulator
