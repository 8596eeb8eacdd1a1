// Element types and tensor types, as MIL names them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ane {

enum class DType : uint8_t {
    fp16,
    fp32,
    int8,
    uint8,
    int16,
    uint16,
    int32,
    uint32,
    uint64,
    int4,
    uint6,
    uint4,
    uint3,
    uint2,
    uint1,
    boolean,
    string
};

std::string_view dtype_name(DType dtype);
std::optional<DType> dtype_from_name(std::string_view name);
// Bits of one element in memory; 0 for string.
int dtype_bits(DType dtype);
bool is_signed_integer(DType dtype);

// One IEEE binary16 value. cpu/simd/ converts many at once.
float half_to_float(uint16_t bits);

using Shape = std::vector<int64_t>;

// Row-major strides, in elements.
std::vector<int64_t> row_major_strides(const Shape& shape);

// The extent of an axis that a text leaves open. No value has it.
inline constexpr int64_t flexible = -1;

// numpy's rule; nullopt where the shapes do not go together.
std::optional<Shape> broadcast(const Shape& a, const Shape& b);

// A tensor's element type and shape; a scalar is a tensor of rank 0.
struct TensorType {
    DType dtype = DType::fp16;
    Shape shape;

    int64_t rank() const { return static_cast<int64_t>(shape.size()); }
    int64_t elements() const;
    // Packed size in bytes: sub-byte types are rounded up to whole bytes.
    int64_t bytes() const;
    bool operator==(const TensorType&) const = default;
};

// "tensor<fp16, [1, 64, 1, 32]>", or "fp16" for a scalar.
// An axis whose extent the text leaves open is "?".
std::string to_string(const TensorType& type);
std::string to_string(const Shape& shape);

}  // namespace ane
