// Affine 8-bit integers: real = (q - zero_point) * scale.
#pragma once

#include <optional>
#include <vector>

#include "emulator/lowering.h"

namespace ane::emulator {

// A scale and a zero point for each index of an axis, or one of each for all.
struct Affine {
    int64_t axis = -1;                // where there are several
    int64_t channels = 1, inner = 1;  // the tensor as [outer, channels, inner]
    std::vector<float> scale, zero_point;

    bool is_uniform() const { return axis < 0; }
    float scale_at(int64_t channel) const { return scale[scale.size() == 1 ? 0 : channel]; }
    float zero_point_at(int64_t channel) const { return zero_point[zero_point.size() == 1 ? 0 : channel]; }
};

Affine affine(const mil::OpView& op, const TensorType& type);

// A constant weight of integers with a scale for each output: its integers as fp16, and the scales.
struct ScaledCodes {
    Buffer codes;
    Buffer scales;  // fp16, one for each index of the weight's first axis
};

// Nothing if the weight is not one, if x is of integers too, or on chips that are not known to sum integers
// before they scale them.
std::optional<ScaledCodes> scaled_codes(Lowering& l, const mil::Value& x, const mil::Value& weight);

// result = sums, whose outputs lie along `axis`, times the scales.
void add_scales(Lowering& l, Buffer sums, Buffer scales, int64_t axis, const mil::Value& result);

// The operands of a product of integers, as the two dequantizing operations have them.
struct IntegerOperands {
    const mil::Value *x, *weight;
    Affine x_affine, weight_affine;
    int64_t most_terms;  // whose sum is sure to fit 32 bits
};

// Operands of an integer product: x is the result of a dequantize with one scale and zero point, the weight
// that of a constexpr_affine_dequantize whose scales and zero points are one, or one for each index of
// `output_axis`, and the scales are finite. In plain arithmetic no sum of `terms` products may exceed 32
// bits.
//
// The result is the exact sum of (weight - its zero point) (x - its zero point), times both scales, rounded
// once; a sum that exceeds 32 bits is infinite (measured on M6: 751K/...-Study-M6). Other products dequantize
// both operands first, each rounded to fp16, which gives other bits unless the scales are powers of two.
std::optional<IntegerOperands> integer_operands(const Lowering& l, const mil::Value& x,
                                                const mil::Value& weight, int64_t output_axis, int64_t terms);

}  // namespace ane::emulator
