// Weight files that Python objects hold.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bindings.h"
#include "device.h"

namespace ane::python {

// The bytes of weight files, exported by Python objects for as long as a compile reads them.
class ExportedWeights {
   public:
    explicit ExportedWeights(const py::object& object) {
        if (object.is_none()) return;
        if (!py::isinstance<py::dict>(object)) throw ArgumentError("weights must be a dict of bytes by path");
        for (const auto& [path, data] : py::reinterpret_borrow<py::dict>(object)) {
            const std::string name = to_text(path, "a weight's path");
            Py_buffer view;
            if (PyObject_GetBuffer(data.ptr(), &view, PyBUF_C_CONTIGUOUS) != 0) {
                PyErr_Clear();
                throw ArgumentError("weight '" + name + "' is " + std::string(py::repr(py::type::of(data))) +
                                    ", must be a contiguous bytes-like object");
            }
            views_.push_back(std::unique_ptr<Py_buffer, Release>(new Py_buffer(view)));
            weights_[name] = {static_cast<const std::byte*>(view.buf), static_cast<size_t>(view.len)};
        }
    }

    const Weights& weights() const { return weights_; }

   private:
    struct Release {
        void operator()(Py_buffer* view) const {
            PyBuffer_Release(view);
            delete view;
        }
    };
    std::vector<std::unique_ptr<Py_buffer, Release>> views_;
    Weights weights_;
};

}  // namespace ane::python
