// Copies of fp16 tensors along strides.
#pragma once

#include "emulator/lowering.h"
#include "emulator/strided.h"

namespace ane::emulator {

// Copies elements along `loops`, whose operands are the source and the destination.
void copy(const Execution& e, const half* source, half* destination, const LoopNest<2>& loops);
void add_copy(Lowering& l, Buffer from, int64_t from_offset, Buffer to, const LoopNest<2>& loops);

// y[i...] = x[i permuted]: axis k of y is axis permutation[k] of x.
void add_transpose(Lowering& l, Buffer x, const Shape& shape, const std::vector<int64_t>& permutation,
                   Buffer y);

}  // namespace ane::emulator
