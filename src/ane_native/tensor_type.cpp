#include "tensor_type.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>

namespace ane {

namespace {

struct DTypeInfo {
    std::string_view name;
    int bits;
};

// In the order of DType.
constexpr DTypeInfo dtypes[] = {{"fp16", 16},   {"fp32", 32},  {"int8", 8},    {"uint8", 8},   {"int16", 16},
                                {"uint16", 16}, {"int32", 32}, {"uint32", 32}, {"uint64", 64}, {"int4", 4},
                                {"uint6", 6},   {"uint4", 4},  {"uint3", 3},   {"uint2", 2},   {"uint1", 1},
                                {"bool", 8},    {"string", 0}};
static_assert(std::size(dtypes) == static_cast<size_t>(DType::string) + 1);

const DTypeInfo& dtype_info(DType dtype) { return dtypes[static_cast<size_t>(dtype)]; }

// A size too large for int64 stays the largest one, so that it fails every limit instead of wrapping round.
int64_t saturating_multiply(int64_t a, int64_t b) {
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

}  // namespace

std::string_view dtype_name(DType dtype) { return dtype_info(dtype).name; }

std::optional<DType> dtype_from_name(std::string_view name) {
    for (size_t i = 0; i < std::size(dtypes); ++i)
        if (dtypes[i].name == name) return static_cast<DType>(i);
    return std::nullopt;
}

int dtype_bits(DType dtype) { return dtype_info(dtype).bits; }

bool is_signed_integer(DType dtype) {
    return dtype == DType::int4 || dtype == DType::int8 || dtype == DType::int16 || dtype == DType::int32;
}

std::vector<int64_t> row_major_strides(const Shape& shape) {
    std::vector<int64_t> strides(shape.size(), 1);
    for (size_t i = shape.size(); i > 1; --i)
        strides[i - 2] = saturating_multiply(strides[i - 1], shape[i - 1]);
    return strides;
}

int64_t TensorType::elements() const {
    int64_t count = 1;
    for (int64_t dim : shape) count = saturating_multiply(count, dim);
    return count;
}

int64_t TensorType::bytes() const {
    const int64_t count = elements();
    const int bits = dtype_bits(dtype);
    if (bits % 8 == 0) return saturating_multiply(count, bits / 8);
    return count / 8 * bits + (count % 8 * bits + 7) / 8;
}

std::string to_string(const TensorType& type) {
    const std::string name(dtype_name(type.dtype));
    return type.shape.empty() ? name : "tensor<" + name + ", " + to_string(type.shape) + ">";
}

std::string to_string(const Shape& shape) {
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); ++i)
        text += (i ? ", " : "") + (shape[i] == flexible ? "?" : std::to_string(shape[i]));
    return text + "]";
}

std::optional<Shape> broadcast(const Shape& a, const Shape& b) {
    const size_t rank = std::max(a.size(), b.size());
    Shape result(rank);
    for (size_t i = 0; i < rank; ++i) {  // from the last axis
        const int64_t extent_a = i < a.size() ? a[a.size() - 1 - i] : 1;
        const int64_t extent_b = i < b.size() ? b[b.size() - 1 - i] : 1;
        if (extent_a != extent_b && extent_a != 1 && extent_b != 1) return std::nullopt;
        result[rank - 1 - i] = std::max(extent_a, extent_b);
    }
    return result;
}

float half_to_float(uint16_t bits) {
    const float sign = bits & 0x8000 ? -1.0f : 1.0f;
    const int exponent = bits >> 10 & 0x1f;
    const int mantissa = bits & 0x3ff;
    if (exponent == 31) return mantissa ? std::bit_cast<float>(0x7fc00000u) : sign * HUGE_VALF;
    if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
    return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

}  // namespace ane
