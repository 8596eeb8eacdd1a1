// Moving tensors between surfaces, packed buffers and fp32 tiles.
#pragma once

#include <span>

#include "../../device.h"
#include "../plan.h"

namespace ane::emulator {

constexpr int64_t tile = 4096;  // elements that a task works on at a time: they stay in the first-level cache

// Rows of a surface to packed elements. Without NaN, one that a port brings in acts as +infinity.
void load(const Execution& e, const Layout& layout, const std::byte* surface, std::byte* packed,
          bool has_nan);
void store(const Execution& e, const Layout& layout, const std::byte* packed, std::byte* surface);

// A constant's elements to its buffer. Without NaN, an fp16 one acts as +infinity.
void load_constant(ThreadPool& threads, DType dtype, std::span<const std::byte> from, std::byte* to,
                   bool has_nan);
// y = x with subnormal numbers as zeros of their sign.
void flush_subnormals(const Execution& e, const half* x, half* y, int64_t count);
void halves_to_floats(const Execution& e, const half* x, float* y, int64_t count);

}  // namespace ane::emulator
