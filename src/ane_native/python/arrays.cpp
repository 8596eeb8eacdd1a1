#include "arrays.h"

#include <string>

#include "errors.h"

namespace ane::python {

namespace {

std::string describe(const Shape& wanted) {
    std::string text = "[";
    for (size_t i = 0; i < wanted.size(); ++i)
        text += (i ? ", " : "") + (wanted[i] < 0 ? std::string("any") : std::to_string(wanted[i]));
    return text + "]";
}

Floats floats(const py::object& object, const char* name, const Shape& wanted, bool written) {
    if (!py::isinstance<py::array>(object))
        throw ArgumentError(std::string(name) + " is " + std::string(py::repr(py::type::of(object))) +
                            ", must be a numpy array");
    const auto array = py::reinterpret_borrow<py::array>(object);
    constexpr int needed = py::array::c_style | aligned;
    if (!array.dtype().equal(py::dtype::of<float>()) || (array.flags() & needed) != needed ||
        (written && !array.writeable()))
        throw ArgumentError(std::string(name) + " must be a contiguous, aligned float32 array" +
                            (written ? " that can be written" : ""));
    Floats result{const_cast<float*>(static_cast<const float*>(array.data())),
                  Shape(array.shape(), array.shape() + array.ndim())};
    bool fits = result.shape.size() == wanted.size();
    for (size_t i = 0; fits && i < wanted.size(); ++i)
        fits = wanted[i] < 0 ? result.shape[i] > 0 : result.shape[i] == wanted[i];
    if (!fits)
        throw ArgumentError(std::string(name) + " is " + to_string(result.shape) + ", must be " +
                            describe(wanted));
    for (const int64_t extent : result.shape) result.count *= extent;
    return result;
}

}  // namespace

Floats input(const py::object& object, const char* name, const Shape& wanted) {
    return floats(object, name, wanted, false);
}
Floats output(const py::object& object, const char* name, const Shape& wanted) {
    return floats(object, name, wanted, true);
}
const float* optional_input(const py::object& object, const char* name, const Shape& wanted) {
    return object.is_none() ? nullptr : input(object, name, wanted).data;
}

Flags flags_in(const py::object& object) {
    constexpr int needed = py::array::c_style | aligned;
    const auto array =
        py::isinstance<py::array>(object) ? py::reinterpret_borrow<py::array>(object) : py::array();
    if (!array.dtype().equal(py::dtype::of<int32_t>()) || array.ndim() != 1 ||
        (array.flags() & needed) != needed || !array.writeable())
        throw ArgumentError("flags must be a contiguous, aligned int32 array [N] that can be written");
    return {const_cast<int32_t*>(static_cast<const int32_t*>(array.data())), array.size()};
}

Flags optional_flags(const py::object& object) { return object.is_none() ? Flags{} : flags_in(object); }

std::optional<int64_t> column_of(const py::object& object) {
    return object.is_none() ? std::nullopt : std::optional(to_integer(object, "column"));
}

}  // namespace ane::python
