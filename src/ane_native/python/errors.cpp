// The exceptions that Python sees, and the translation of the native ones.
#include "errors.h"

#include "bindings.h"

namespace ane::python {

namespace {

struct Exceptions {
    py::object base, argument, unavailable, surface, compile, budget, evaluate;
};

// Never freed: a translator may run while the interpreter shuts down.
Exceptions& exceptions() {
    static auto* instance = new Exceptions;
    return *instance;
}

py::object make_exception(py::module_& module, const char* name, const char* doc, const py::object& bases) {
    const std::string qualified = std::string("aneperf.") + name;
    py::object type = py::reinterpret_steal<py::object>(
        PyErr_NewExceptionWithDoc(qualified.c_str(), doc, bases.ptr(), nullptr));
    if (!type) throw py::error_already_set();
    module.attr(name) = type;
    return type;
}

py::object number_or_none(int64_t value) {
    return value ? py::object(py::int_(value)) : py::object(py::none());
}

void raise(const py::object& type, const std::exception& error, const py::dict& attributes = {}) {
    const py::object instance = type(error.what());
    for (const auto& [name, value] : attributes) py::setattr(instance, name, value);
    PyErr_SetObject(type.ptr(), instance.ptr());
}

void translate(std::exception_ptr thrown) {
    const Exceptions& types = exceptions();
    try {
        if (thrown) std::rethrow_exception(thrown);
    } catch (const ArgumentError& error) {
        raise(types.argument, error);
    } catch (const DeviceUnavailable& error) {
        raise(types.unavailable, error);
    } catch (const SurfaceError& error) {
        raise(types.surface, error);
    } catch (const CompileError& error) {
        py::dict attributes;
        attributes["kind"] = error.kind;
        attributes["line"] = number_or_none(error.where.line);
        attributes["column"] = number_or_none(error.where.column);
        raise(types.compile, error, attributes);
    } catch (const CompileBudgetError& error) {
        raise(types.budget, error);
    } catch (const EvaluateError& error) {
        py::dict attributes;
        attributes["status"] = number_or_none(error.status);
        raise(types.evaluate, error, attributes);
    } catch (const Error& error) {
        raise(types.base, error);
    } catch (const py::cast_error&) {  // pybind11's own is a RuntimeError with advice for its developers
        PyErr_SetString(PyExc_TypeError, "an object has no value: it was made by __new__ alone");
    }
}

}  // namespace

void bind_errors(py::module_& module) {
    Exceptions& types = exceptions();
    types.base = make_exception(module, "AneError", "The base of this package's errors.",
                                py::reinterpret_borrow<py::object>(PyExc_Exception));
    types.argument =
        make_exception(module, "ArgumentError", "A call got an argument that it cannot use.",
                       py::make_tuple(types.base, py::handle(PyExc_ValueError), py::handle(PyExc_TypeError)));
    types.unavailable = make_exception(
        module, "DeviceUnavailable",
        "The device does not exist on this machine, lacks what it needs, or was opened before a fork.",
        types.base);
    types.surface = make_exception(module, "SurfaceError",
                                   "A surface cannot be made, read or written as asked.", types.base);
    types.compile = make_exception(module, "CompileError",
                                   "A program was refused. The message says where and why.", types.base);
    types.budget =
        make_exception(module, "CompileBudgetError", "This process has used up its compiles.", types.base);
    types.evaluate = make_exception(module, "EvaluateError", "An evaluation failed.", types.base);
    for (const char* name : {"kind", "line", "column"}) py::setattr(types.compile, name, py::none());
    py::setattr(types.evaluate, "status", py::none());
    py::register_local_exception_translator(translate);
}

}  // namespace ane::python
