// The constant operand of a product of 8-bit integers.
#pragma once

#include <algorithm>
#include <vector>

#include "integer_product.h"

namespace ane::emulator {

constexpr int64_t line_bytes = 64;  // rows of the weight begin on one

inline int64_t in_lines(int64_t bytes) { return ceil_divide(bytes, line_bytes) * line_bytes; }

// The kernels take signed bytes on the left and unsigned ones on the right; flipping the top bit of the other
// kind moves it, and its zero point, by 128.
struct Encoding {
    uint8_t flip;
    int32_t zero_point_shift;

    uint32_t zero_point(float z) const {
        return static_cast<uint32_t>(static_cast<int32_t>(z) + zero_point_shift);
    }
};

inline Encoding encode_left(DType dtype) {
    return dtype == DType::int8 ? Encoding{0, 0} : Encoding{0x80, -128};
}
inline Encoding encode_right(DType dtype) {
    return dtype == DType::int8 ? Encoding{0x80, 128} : Encoding{0, 0};
}

// The weight as the kernels read it, once for all evaluations, with one row of ones behind the last.
struct PackedWeight {
    int64_t rows, stride;  // of all matrices; bytes
    Buffer bytes;
    // With l and r the operands less their zero points p and q,
    //     sum (l - p)(r - q) = sum l r + (depth p q - q sum l) - p sum r,
    // where the term in parentheses, `start`, is known in advance, and the last is often 0. That is of the
    // terms of one chunk: start is [chunks, rows].
    Buffer start;
    std::vector<uint32_t> zero_points;
    std::vector<float> scales;  // times that of x: exact, as both are of fp16

    bool is_symmetric() const {
        return std::ranges::all_of(zero_points, [](uint32_t z) { return z == 0; });
    }
};

// `chunk` is the number of terms of one.
PackedWeight pack_weight(Lowering& l, const IntegerProduct& p, const IntegerOperands& o, int64_t chunk);

}  // namespace ane::emulator
