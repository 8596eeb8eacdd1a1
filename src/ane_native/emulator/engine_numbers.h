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
// An exact sum of any number of fp16, in units of 2^-24.
__extension__ typedef __int128 Units;
// The same of numerator / denominator, the denominator being positive.
cpu::half engine_half(Units numerator, int64_t denominator, cpu::Rounding rounding);

}  // namespace ane::emulator
