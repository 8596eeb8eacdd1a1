// The arrays and flags of a caller, checked; errors name the argument.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <optional>

#include "bindings.h"

namespace ane::python {

using FloatArray = Typed<"NDArray[np.float32]">;
using OptionalFloatArray = Typed<"NDArray[np.float32] | None">;
using FlagArray = Typed<"NDArray[np.int32]">;
using OptionalFlagArray = Typed<"NDArray[np.int32] | None">;

// Elements at multiples of their size, as C++ reads them.
constexpr int aligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;

// A negative extent of a wanted shape takes any.
constexpr int64_t any = -1;

// The memory of a caller's fp32 array.
struct Floats {
    float* data;
    Shape shape;
    int64_t count = 1;
};

Floats input(const py::object& object, const char* name, const Shape& wanted);
Floats output(const py::object& object, const char* name, const Shape& wanted);
const float* optional_input(const py::object& object, const char* name, const Shape& wanted);

// Flags in a caller's array.
struct Flags {
    int32_t* data = nullptr;
    int64_t count = 0;
};

Flags flags_in(const py::object& object);
Flags optional_flags(const py::object& object);

std::optional<int64_t> column_of(const py::object& object);

}  // namespace ane::python
