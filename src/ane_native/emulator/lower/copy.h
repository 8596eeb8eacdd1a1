// Copies of tensors along strides.
#pragma once

#include "emulator/lowering.h"
#include "emulator/strided.h"

namespace ane::emulator {

// Copies elements along `loops`, whose operands are the source and the destination.
template <typename Element>
void copy(const Execution& e, const Element* source, Element* destination, const LoopNest<2>& loops);
void add_copy(Lowering& l, Buffer from, int64_t from_offset, Buffer to, const LoopNest<2>& loops);

// y[i...] = x[i permuted]: axis k of y is axis permutation[k] of x.
void add_transpose(Lowering& l, Buffer x, const TensorType& type, const std::vector<int64_t>& permutation,
                   Buffer y);

// Calls visit with a value of the type that holds an element: fp16 or bool.
template <typename Visit>
void with_element(DType dtype, const Visit& visit) {
    dtype == DType::boolean ? visit(uint8_t{}) : visit(half{});
}

}  // namespace ane::emulator
