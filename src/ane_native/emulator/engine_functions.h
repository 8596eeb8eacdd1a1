// The engine's functions of one number, most of them from tables of 33 points.
#pragma once

#include <array>
#include <memory>

#include "cpu/simd/kernels.h"

namespace ane::emulator {

// The function of every fp16, by its bits.
using FunctionTable = std::array<cpu::half, 1 << 16>;

// Shared by all programs that use the function at a time.
std::shared_ptr<const FunctionTable> engine_function(cpu::Unary kind, cpu::Parameters parameters);

// 1 / sqrt(x) of any number.
cpu::half engine_rsqrt(double x);

}  // namespace ane::emulator
