// What the binding files share.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "tensor_type.h"

namespace ane::python {

namespace py = pybind11;

void bind_errors(py::module_& module);
void bind_device(py::module_& module);
void bind_mil(py::module_& module);
void bind_host(py::module_& module);

// Arguments that raise ArgumentError, naming themselves, where Python's own conversion would raise TypeError.
int64_t to_integer(py::handle object, const char* name);
std::string to_text(py::handle object, const char* name);
Shape to_shape(py::handle object, const char* name);
DType to_dtype(py::handle object, const char* name);
py::tuple shape_tuple(const Shape& shape);

}  // namespace ane::python
