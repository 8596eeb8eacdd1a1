// Vector kernels over fp32 tiles, compiled once for each SIMD level and chosen at run time.
// Every level computes the same bits: reductions have 16 fixed lanes, and multiplications are fused with
// additions only where every level does it, and in matrix products of fp16, below.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ane::cpu {

using half = uint16_t;  // the bits of an IEEE binary16

enum class Unary : uint8_t {
    abs,
    atan,
    ceil,
    clamped_relu,
    clip,
    cos,
    elu,
    erf,
    exp,
    exp2,
    floor,
    gelu_exact,
    gelu_sigmoid,
    gelu_tanh,
    inverse,
    leaky_relu,
    linear_activation,
    log,
    relu,
    round,
    rsqrt,
    scaled_tanh,
    sigmoid,
    sigmoid_hard,
    sign,
    silu,
    sin,
    softplus,
    softsign,
    sqrt,
    square,
    tanh,
    threshold,
    thresholded_relu
};
// Comparisons give 1 or 0. prelu is x, or x times the slope where x is negative.
enum class Binary : uint8_t {
    add,
    sub,
    mul,
    real_div,
    floor_div,
    maximum,
    minimum,
    pow,
    prelu,
    equal,
    greater,
    greater_equal,
    less,
    less_equal,
    not_equal
};
enum class Reduction : uint8_t { sum, max, min };

// How fp16 is read and rounded. To the engine exponent 31 is one more exponent: 0x7c00 is 65536, and there is
// no NaN. Its ties go away from zero, a zero is positive, and an undefined result is 0.
enum class Numbers : uint8_t { ieee, engine };

// How an fp32 result becomes fp16.
struct Rounding {
    Numbers numbers = Numbers::ieee;
    float overflow = 65520.0f;  // magnitudes from here on become infinite
};

// The constants of a unary operation, as MIL names them; `alpha` is also the epsilon of inverse, log and
// rsqrt.
struct Parameters {
    float alpha = 0, beta = 0;
};

// An operand of an element-wise kernel: consecutive elements, or with step 0 one that stands for all.
template <class T>
struct Elements {
    Elements(const T* elements, size_t every = 1) : data(elements), step(every) {}
    const T* data;
    size_t step;
};

constexpr size_t most_softmax_rows = 16;

struct Exponentials {
    float maximum;  // of the exponents
    float sum;
};

// Writes rows [row, row + rows) of every strip of a panel of `depth` rows; `stride` is that of b's rows.
using Pack = void (*)(const half* b, size_t stride, size_t row, size_t rows, size_t columns, float* panel,
                      size_t depth);

// The parts of matrix products with fp32 sums, each taken in the order of its terms. Products of two fp16 are
// exact in fp32, so every level computes the same bits from fp16 operands; from others too, but for the
// baseline of x86-64, which has no fused multiply-add.
//
// A panel is a right operand [depth, columns] as fp32 strips [depth, strip], the last one padded with zeros.
struct ProductKernels {
    size_t rows;   // of the sums that stay in registers
    size_t strip;  // their columns; a divisor of 32
    Pack pack;
    // c [rows, columns] = a [rows, depth] * panel, added to c if `accumulate`. Writes whole vectors: the rows
    // of c need room for a multiple of 32 columns. Meanwhile fetches into the cache what will be multiplied
    // next: as many rows of fp16.
    void (*multiply)(const float* a, size_t a_stride, size_t rows, const float* panel, size_t depth,
                     size_t columns, float* c, size_t c_stride, bool accumulate, const half* next,
                     size_t next_stride);
    // c [columns] = a [depth] * b [depth, columns], without a panel, which pays only for several rows.
    void (*multiply_row)(const float* a, const half* b, size_t stride, size_t depth, size_t columns, float* c,
                         bool accumulate);
    // y [columns, rows] = x [rows, columns] transposed.
    void (*transpose)(const half* x, size_t x_stride, size_t rows, size_t columns, half* y, size_t y_stride);
};

// The sum of the magnitudes of some fp16 numbers, and the largest of them.
struct Bounds {
    float sum, largest;
};

// A sum in units of 2^-16, and whether it has overflowed on either side.
struct WideSum {
    int64_t value;
    bool is_above, is_below;
};

constexpr size_t most_fixed_depth = 512;

// The parts of matrix products as the Neural Engine computes them: sums of multiples of 2^-16, the same bits
// in any order and at every level.
//
// A panel is a right operand [depth, columns] as strips [depth, strip], each followed by `depth` floats. It
// is multiplied with rows of the left operand that `prepare` has written, in 2 * (rows + 1) * depth floats.
struct FixedProductKernels {
    size_t rows;            // of the sums that stay in registers
    size_t strip;           // their columns; a divisor of 32
    float largest_product;  // `multiply` takes products below it, and sums below 32768
    Pack pack;
    void (*prepare)(const half* a, size_t stride, size_t rows, size_t depth, float* left);
    // c [rows, columns] = left [rows, depth] * panel, added to c if `accumulate`, in units of 2^-16; the
    // depth is at most most_fixed_depth, and `largest` the largest magnitude in the panel, or more. Writes
    // whole vectors: the rows of c need room for a multiple of 32 columns.
    void (*multiply)(const float* left, size_t rows, const float* panel, float largest, size_t depth,
                     size_t columns, int32_t* c, size_t c_stride, bool accumulate);
    // Adds what the sums start at, and leaves fp32 in their place, which rounds to fp16 as they do. Writes
    // whole vectors.
    void (*finish)(int32_t* sums, Elements<int32_t> start, size_t n);
    Bounds (*bounds)(const half* a, size_t n);
    // Any row a [depth], of any products and sums.
    void (*sum_wide)(const half* a, size_t depth, const float* panel, size_t columns, WideSum* sums);
    void (*finish_wide)(const WideSum* sums, float* c, size_t n);
};

// The parts of exact products of 8-bit integers: signed ones on the left, unsigned ones on the right. Sums
// are 32 bits that wrap, so they are the same in any order, and right whenever the true sum fits.
//
// A panel is a right operand [depth, columns] as strips [depth / 4, strip, 4]: four terms of a column follow
// each other. `depth` is a multiple of 4; beyond the operand's own depth the left operand has zeros.
struct IntegerKernels {
    size_t rows;   // of the sums that stay in registers
    size_t strip;  // their columns; a divisor of 32
    // Writes `rows` rows of every strip of a panel, and zeros up to the next four; every byte is changed by
    // `flip` with exclusive or. `stride` is that of b's rows.
    void (*pack)(const uint8_t* b, size_t stride, size_t rows, size_t columns, uint8_t flip, uint8_t* panel,
                 size_t depth);
    // The same from b [columns, rows].
    void (*pack_transposed)(const uint8_t* b, size_t stride, size_t rows, size_t columns, uint8_t flip,
                            uint8_t* panel, size_t depth);
    // c [rows, columns] = start [rows] + a [rows, depth] * panel. Writes whole vectors: the rows of c need
    // room for a multiple of 32 columns.
    void (*multiply)(const int8_t* a, size_t a_stride, size_t rows, const uint8_t* panel, size_t depth,
                     size_t columns, const int32_t* start, int32_t* c, size_t c_stride);
    // c [rows] = start [rows] + a [rows, depth] * b [depth], `depth` being a multiple of 64.
    void (*multiply_column)(const int8_t* a, size_t a_stride, size_t rows, const uint8_t* b, size_t depth,
                            const int32_t* start, int32_t* c);
};

struct Vectors;  // vectors.h

// NaN is NaN, with bits that differ between levels, until to_half.
struct Kernels {
    const char* level;  // "baseline", "avx2", "avx512", "avx512vnni" or "neon"
    void (*to_float)(const half* x, float* y, size_t n);
    void (*decode)(const half* x, float* y, size_t n);  // as the engine reads fp16
    void (*to_half)(const float* x, half* y, size_t n, Rounding rounding);
    void (*unary)(Unary op, const float* x, Parameters p, float* y, size_t n);
    void (*binary)(Binary op, Elements<float> a, Elements<float> b, float* y, size_t n);
    // The same on fp16, with fp32 math.
    void (*unary_halves)(Unary op, const half* x, Parameters p, half* y, size_t n);
    void (*binary_halves)(Binary op, Elements<half> a, Elements<half> b, half* y, size_t n, Numbers numbers);
    // y[i] = table[x[i]], of 65,536 elements; x may be y.
    void (*look_up)(const half* table, const half* x, half* y, size_t n);
    void (*compare)(Binary op, Elements<half> a, Elements<half> b, uint8_t* y, size_t n, Numbers numbers);
    // Moves bits: what is not selected is not looked at.
    void (*select)(Elements<uint8_t> condition, Elements<half> a, Elements<half> b, half* y, size_t n);
    void (*logical_not)(const uint8_t* x, uint8_t* y, size_t n);
    void (*nan_to_infinity)(const float* x, float* y, size_t n);
    float (*reduce)(Reduction op, const float* x, size_t n);  // n >= 1
    // y [n] from x [rows, n], whose rows are `stride` apart; rows are taken in order.
    void (*reduce_columns)(Reduction op, const half* x, size_t stride, size_t rows, float* y, size_t n,
                           Numbers numbers);
    void (*largest_magnitude_columns)(const half* x, size_t stride, size_t rows, float* y, size_t n,
                                      Numbers numbers);
    // Sums of the squares of x * factors [n], or of x if `factors` is null, by column in the same way. Each
    // product is rounded to fp16. `factors` is padded to whole vectors of 16.
    void (*sum_square_columns)(const half* x, const float* factors, size_t stride, size_t rows, float* y,
                               size_t n);
    // The sum of up to 4096 numbers, as the engine reads them: fp64 holds it exactly.
    double (*sum_exactly)(const half* x, size_t n);
    // sums[i] += x[i]
    void (*add_exactly)(const half* x, double* sums, size_t n);
    float (*sum_of_squares)(const float* x, size_t n);
    // y[i] = exp(x[i] - maximum of x); x may be y.
    Exponentials (*exponentials)(const float* x, float* y, size_t n);
    // y = softmax of each row of x [rows, n]; scratch [rows, n] and at most most_softmax_rows rows.
    void (*softmax)(const half* x, size_t rows, size_t n, float* scratch, half* y);
    // clamp(round_half_away(x / scale) + zero_point) to [-128, 127], or [0, 255] if not `is_signed`.
    void (*quantize)(const half* x, Elements<float> scale, Elements<float> zero_point, bool is_signed,
                     uint8_t* y, size_t n, Numbers numbers);
    // (x - zero_point) * scale, from int8, or uint8 if not `is_signed`.
    void (*dequantize)(const uint8_t* x, Elements<float> scale, Elements<float> zero_point, bool is_signed,
                       half* y, size_t n, Numbers numbers);
    // x * scale + bias, rounded once.
    void (*scale_integers)(const int32_t* x, Elements<float> scale, Elements<float> bias, half* y, size_t n,
                           Numbers numbers);
    const ProductKernels* products;
    const FixedProductKernels* fixed_products;
    const IntegerKernels* integers;
    const Vectors* vectors;

    void widen(const half* x, float* y, size_t n, Numbers numbers) const {
        (numbers == Numbers::engine ? decode : to_float)(x, y, n);
    }
    void binary_scalar(Binary op, const float* a, float b, float* y, size_t n) const {
        binary(op, a, {&b, 0}, y, n);
    }
};

// The widest level that this CPU runs and ANEPERF_SIMD allows. Throws ArgumentError for an unknown or
// unavailable level.
const Kernels& kernels();

}  // namespace ane::cpu
