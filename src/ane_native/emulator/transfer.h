// Element-wise work that moves and converts: ports, and fp16 to fp32.
#pragma once

#include <span>

#include "device.h"
#include "step.h"

namespace ane::emulator {

constexpr int64_t tile = 4096;  // elements that a task works on at a time: they stay in the first-level cache

// The elements of a port in its surface, row by row.
Walk port_walk(const Layout& layout);

// Copies rows of a surface to packed elements. For the engine, a NaN of fp32 becomes +infinity.
Elementwise load(Buffer surface, const Layout& layout, Buffer packed, Numbers numbers);
Elementwise store(Buffer packed, const Layout& layout, Buffer surface);
// Copies a constant's elements to its memory, now.
void load_constant(const Execution& e, std::span<const std::byte> from, std::byte* to);

Elementwise halves_to_floats(Buffer x, Buffer y, int64_t count, Numbers numbers);

}  // namespace ane::emulator
