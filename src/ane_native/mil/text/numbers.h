// Number and truth literals as the bits of an element type: each is rounded once, to nearest, ties to even.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "lexer.h"
#include "mil/graph.h"
#include "tensor_type.h"

namespace ane::mil {

// Throws CompileError unless `literal` is a literal of `dtype` (any but string) and within its range.
uint64_t element_bits(const Token& literal, DType dtype);

// The elements of a constant, packed as Constant::data wants them.
class PackedElements {
   public:
    // `expected` elements are reserved.
    PackedElements(DType dtype, int64_t expected);
    void append(const Token& literal);
    std::shared_ptr<const Constant> take_constant();

   private:
    DType dtype_;
    int64_t count_ = 0;
    std::vector<std::byte> data_;
};

}  // namespace ane::mil
