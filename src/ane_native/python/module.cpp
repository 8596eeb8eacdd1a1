#include "bindings.h"
#include "errors.h"

namespace ane::python {

int64_t to_integer(py::handle object, const char* name) {
    const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
    int overflow = 0;
    const int64_t value = index ? PyLong_AsLongLongAndOverflow(index.ptr(), &overflow) : 0;
    PyErr_Clear();
    if (!index || overflow)
        throw ArgumentError(std::string(name) + " is " + std::string(py::repr(object)) +
                            ", must be an integer");
    return value;
}

std::string to_text(py::handle object, const char* name) {
    if (!py::isinstance<py::str>(object))
        throw ArgumentError(std::string(name) + " is " + std::string(py::repr(py::type::of(object))) +
                            ", must be a str");
    Py_ssize_t size = 0;
    const char* data = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
    if (!data) {
        PyErr_Clear();
        throw ArgumentError(std::string(name) + " has characters that UTF-8 cannot write");
    }
    return {data, static_cast<size_t>(size)};
}

Shape to_shape(py::handle object, const char* name) {
    Shape shape;
    if (!py::isinstance<py::sequence>(object) || py::isinstance<py::str>(object))
        throw ArgumentError(std::string(name) + " is " + std::string(py::repr(object)) +
                            ", must be a sequence of integers");
    for (const py::handle extent : object) shape.push_back(to_integer(extent, name));
    return shape;
}

DType to_dtype(py::handle object, const char* name) {
    const std::string text = to_text(object, name);
    if (const auto dtype = dtype_from_name(text)) return *dtype;
    throw ArgumentError(std::string(name) + " is \"" + text +
                        "\", must be a MIL dtype such as \"fp16\" or \"int8\"");
}

IntTuple shape_tuple(const Shape& shape) {
    py::tuple result(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) result[i] = py::int_(shape[i]);
    return result;
}

// `__new__` makes an object without a value, for which pybind11 would take memory as it comes. So do the old
// protocols of pickle, which make an object of pybind11's base.
static void refuse_objects_without_value(const py::module_& module) {
    for (const auto& [name, object] : py::dict(module.attr("__dict__"))) {
        if (!PyType_Check(object.ptr())) continue;
        auto* type = py::detail::get_type_info(reinterpret_cast<PyTypeObject*>(object.ptr()));
        if (!type) continue;
        type->operator_new = [](size_t) -> void* {
            throw py::type_error("an object has no value: it was made by __new__ alone");
        };
        for (const char* method : {"__reduce__", "__reduce_ex__"})
            object.attr(method) = py::cpp_function(
                [](const py::object& self, const py::args&) {
                    throw py::type_error("cannot pickle or copy " +
                                         std::string(py::str(py::type::of(self).attr("__name__"))) +
                                         ": it belongs to its process");
                },
                py::name(method), py::is_method(object));
    }
}

}  // namespace ane::python

// pybind11 takes the lock of the main interpreter, for which an import in a subinterpreter would wait for
// ever. Thus our entry runs before pybind11's. Since Python 3.13 it runs in the main interpreter, and the
// module's body in the subinterpreter.
constexpr const char* only_main = "aneperf runs in the main interpreter only: start a process instead";

static bool in_main_interpreter() { return PyInterpreterState_Get() == PyInterpreterState_Main(); }

#define PyInit__ane_native pybind11_entry
PYBIND11_MODULE(_ane_native, module, pybind11::multiple_interpreters::not_supported()) {
    if (!in_main_interpreter()) throw pybind11::import_error(only_main);
    module.doc() = "The native core: devices, programs, surfaces, and the MIL checker.";
    module.attr("__version__") = ANEPERF_VERSION;
    ane::python::bind_errors(module);
    ane::python::bind_device(module);
    ane::python::bind_mil(module);
    ane::python::bind_training(module);
    ane::python::bind_gradient_queue(module);
    ane::python::refuse_objects_without_value(module);
}
#undef PyInit__ane_native

extern "C" PYBIND11_EXPORT PyObject* PyInit__ane_native() {
    if (in_main_interpreter()) return pybind11_entry();
    PyErr_SetString(PyExc_ImportError, only_main);
    return nullptr;
}
