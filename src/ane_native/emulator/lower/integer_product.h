// Matrix products of 8-bit integers: exact sums of 32 bits, which are scaled and rounded to fp16 once.
#pragma once

#include <array>
#include <functional>
#include <optional>

#include "quantization.h"

namespace ane::emulator {

// Columns of a right operand, which begins at byte `offset` of its tensor.
struct IntegerPanel {
    int64_t offset, column, columns, depth;
    uint8_t flip;  // what makes the bytes unsigned, by exclusive or
};

// z [batches, rows, columns] = weight x, where each weight matrix is [rows, inner], and x is [inner, columns]
// in memory or, if `pack` is given, what it packs.
struct IntegerProduct {
    int64_t batches, rows, inner, columns;
    std::function<std::array<int64_t, 2>(int64_t batch)> operands;  // which weight matrix; offset of x
    int64_t weight_row_stride, weight_inner_stride;
    bool x_is_transposed = false;  // x is [columns, inner] in memory
    bool z_is_transposed = false;  // z is [batches, columns, rows]
    std::function<void(const Execution& e, const IntegerPanel& panel, uint8_t* to)> pack = {};
};
// `bias` is fp32 [rows], or none.
void add_integer_product(Lowering& l, const IntegerProduct& product, const IntegerOperands& operands,
                         std::optional<Buffer> bias, const mil::Value& z);

}  // namespace ane::emulator
