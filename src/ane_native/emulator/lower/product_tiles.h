// Matrix products in tiles: fp16 operands, sums in fp32 or in the engine's fixed point, one rounding to fp16.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "emulator/lowering.h"

namespace ane::emulator {

// Longer sums are added in chunks of this many terms. This length determines the bits of a sum in fp32; the
// sizes of tiles and the number of threads do not.
constexpr int64_t block_depth = 512;
static_assert(block_depth <= static_cast<int64_t>(most_fixed_depth));
constexpr int64_t widest_tile = 256, tallest_tile = 256;
constexpr int64_t enough_tasks = 32;  // for a few threads of unequal speed to end together

inline size_t size(int64_t n) { return static_cast<size_t>(n); }

inline int64_t padded(int64_t columns) { return ceil_divide(columns, 32) * 32; }

// Part of a right operand, which begins at element `offset` of its tensor.
struct Panel {
    int64_t offset, row, rows, column, columns;
};

// z [batches, rows, columns] = x y, where x is fp16 [rows, inner] in memory, and y fp16 [inner, columns] in
// memory or, if `pack` is given, what it packs.
struct Product {
    int64_t batches, rows, inner, columns;
    std::function<std::array<int64_t, 2>(int64_t batch)> offsets;  // of x and of y
    std::function<void(const Execution& e, const Panel& panel, Pack pack, float* to)> pack;
    std::optional<Buffer> bias = {};  // fp32: a number for each column, or for each row of all of x
    bool bias_is_of_rows = false;
};
void add_product(Lowering& l, const Product& product, Buffer x, Buffer y, Buffer z);

// The engine's sum before its first product, with this bias: a multiple of 2^-16, or infinite.
float fixed_start(float bias);

// z [rows, outputs] = x weight^T + bias, the weight being [outputs, inputs].
void add_linear(Lowering& l, Buffer x, int64_t rows, int64_t inputs, int64_t outputs, Buffer weight,
                std::optional<Buffer> bias, Buffer z);

// z [rows, columns] = x y on the calling thread, with a panel's memory of `panel_floats(inner, columns)`.
void multiply(const Kernels& k, const float* x, int64_t x_stride, int64_t rows, const half* y, int64_t inner,
              int64_t columns, float* panel, float* z, int64_t z_stride);
int64_t panel_floats(int64_t inner, int64_t columns);

// Rows that begin at element `offset` and lie `pitch` elements apart.
struct Rows {
    Buffer buffer;
    int64_t offset, pitch;
};

// The matrices [rows, columns] of x, each transposed.
Buffer transposed(Lowering& l, const Rows& x, int64_t matrices, int64_t rows, int64_t columns);

}  // namespace ane::emulator
