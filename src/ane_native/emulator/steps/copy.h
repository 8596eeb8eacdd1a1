// Transposed copies of fp16 tensors.
#pragma once

#include "../lowering.h"
#include "../strided.h"

namespace ane::emulator {

// y[i...] = x[i permuted]: axis k of y is axis permutation[k] of x.
void add_transpose(Lowering& l, Buffer x, const Shape& shape, const std::vector<int64_t>& permutation,
                   Buffer y);

}  // namespace ane::emulator
