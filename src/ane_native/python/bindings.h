// Declarations that the binding files share.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "tensor_type.h"

namespace ane::python {

namespace py = pybind11;

// The text of a Python type.
template <size_t size>
struct TypeName {
    char text[size];
    constexpr TypeName(const char (&from)[size]) { std::copy_n(from, size, text); }
};

inline bool is_object(PyObject*) { return true; }

// An object that signatures show as `shown`. The function checks it, so that its errors name the argument.
template <TypeName shown>
struct Typed : py::object {
    PYBIND11_OBJECT(Typed, py::object, is_object)
};

using Int = Typed<"int">;
using Text = Typed<"str">;
using Files = Typed<"Mapping[str, Any] | None">;
using Ints = Typed<"Sequence[int]">;
using IntTuple = Typed<"tuple[int, ...]">;

// Lets other Python threads run while it lives. While the interpreter ends, it ends every thread that wants
// the lock back, by an exception that no destructor may pass on: such a thread stays here until the process
// is gone.
class WithoutGil {
   public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    ~WithoutGil() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            for (;;) pause();
        }
    }
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;

   private:
    PyThreadState* state_;
};

void bind_errors(py::module_& module);
void bind_device(py::module_& module);
void bind_mil(py::module_& module);
void bind_training(py::module_& module);
void bind_gradient_queue(py::module_& module);

// Conversions that raise ArgumentError with the argument's name, where pybind11's would raise TypeError.
int64_t to_integer(py::handle object, const char* name);
std::string to_text(py::handle object, const char* name);
Shape to_shape(py::handle object, const char* name);
DType to_dtype(py::handle object, const char* name);
IntTuple shape_tuple(const Shape& shape);

}  // namespace ane::python

template <ane::python::TypeName shown>
struct pybind11::detail::handle_type_name<ane::python::Typed<shown>> {
    static constexpr auto name = const_name(shown.text);
};
