// MIL text as plain data, and the checker for one operation.
#include <deque>
#include <memory>

#include "bindings.h"
#include "mil/blob.h"
#include "mil/graph.h"
#include "mil/op.h"

namespace ane::python {

namespace {

py::object constant_data(const mil::Value& value) {
    if (!value.constant || value.constant->blob) return py::none();
    if (value.type.dtype == DType::string) return py::str(value.constant->text);
    return py::bytes(reinterpret_cast<const char*>(value.constant->data.data()), value.constant->data.size());
}

py::dict value_dict(const mil::Value& value) {
    py::dict result;
    result["name"] = value.name;
    result["line"] = value.where.line;
    result["dtype"] = std::string(dtype_name(value.type.dtype));
    result["shape"] = shape_tuple(value.type.shape);
    result["constant"] = constant_data(value);
    result["blob"] =
        value.constant && value.constant->blob
            ? py::object(py::make_tuple(value.constant->blob->path, value.constant->blob->offset))
            : py::object(py::none());
    return result;
}

py::list id_list(const std::vector<mil::ValueId>& ids) {
    py::list result;
    for (const mil::ValueId id : ids) result.append(id);
    return result;
}

py::dict operation_dict(const mil::Operation& operation) {
    py::list arguments;
    for (const mil::Argument& argument : operation.arguments)
        arguments.append(py::make_tuple(argument.name, id_list(argument.values), argument.is_tuple));
    py::dict result;
    result["op"] = operation.op;
    result["line"] = operation.where.line;
    result["arguments"] = arguments;
    result["results"] = id_list(operation.results);
    return result;
}

py::dict parse(const py::object& text) {
    mil::Program program;
    {
        const std::string copy = to_text(text, "text");
        const py::gil_scoped_release release;
        program = mil::parse(copy);
    }
    py::list build_info, functions;
    for (const auto& [key, value] : program.build_info) build_info.append(py::make_tuple(key, value));
    for (const mil::Function& function : program.functions) {
        py::list values, operations;
        for (const mil::Value& value : function.values) values.append(value_dict(value));
        for (const mil::Operation& operation : function.operations)
            operations.append(operation_dict(operation));
        py::dict result;
        result["name"] = function.name;
        result["opset"] = function.opset;
        result["values"] = values;
        result["inputs"] = id_list(function.inputs);
        result["operations"] = operations;
        result["outputs"] = id_list(function.outputs);
        functions.append(result);
    }
    py::dict result;
    result["version"] = program.version;
    result["build_info"] = build_info;
    result["functions"] = functions;
    return result;
}

mil::Value to_value(py::handle object, const char* argument) {
    if (!py::isinstance<py::tuple>(object) || py::len(object) < 2 || py::len(object) > 3)
        throw ArgumentError(std::string(argument) + " must be (dtype, shape) or (dtype, shape, data)");
    const auto parts = py::reinterpret_borrow<py::tuple>(object);
    mil::Value value;
    value.type = {to_dtype(parts[0], "dtype"), to_shape(parts[1], "shape")};
    if (value.type.rank() > 7) throw ArgumentError(std::string(argument) + " has more than 7 axes");
    for (const int64_t extent : value.type.shape)
        if (extent < 1 || extent > INT32_MAX)
            throw ArgumentError(std::string(argument) + " has an axis of " + std::to_string(extent) +
                                " elements");
    if (parts.size() == 2) return value;
    auto constant = std::make_shared<mil::Constant>();
    if (value.type.dtype == DType::string) {
        constant->text = to_text(parts[2], argument);
    } else {
        if (!py::isinstance<py::bytes>(parts[2]))
            throw ArgumentError(std::string(argument) + "'s data must be bytes");
        // The argument's owner keeps the bytes alive for the length of the call.
        const auto data = py::reinterpret_borrow<py::bytes>(parts[2]);
        constant->data =
            std::as_bytes(std::span(PyBytes_AS_STRING(data.ptr()), PyBytes_GET_SIZE(data.ptr())));
        if (static_cast<int64_t>(constant->data.size()) != value.type.bytes())
            throw ArgumentError(std::string(argument) + " has " + std::to_string(constant->data.size()) +
                                " bytes of data, " + to_string(value.type) + " takes " +
                                std::to_string(value.type.bytes()));
    }
    value.constant = std::move(constant);
    return value;
}

py::list infer(const py::object& op, const py::object& arguments, const py::object& opset) {
    if (!py::isinstance<py::dict>(arguments)) throw ArgumentError("arguments must be a dict");
    std::deque<std::string> names;
    std::deque<mil::Value> values;
    std::vector<mil::OpView::Item> items;
    for (const auto& [name, argument] : py::reinterpret_borrow<py::dict>(arguments)) {
        names.push_back(to_text(name, "an argument's name"));
        mil::OpView::Item item{names.back(), {}, py::isinstance<py::list>(argument), {}};
        const auto add = [&](py::handle value) {
            values.push_back(to_value(value, names.back().c_str()));
            item.values.push_back(&values.back());
        };
        if (item.is_tuple) {
            for (const py::handle value : argument) add(value);
        } else {
            add(argument);
        }
        items.push_back(std::move(item));
    }
    const std::string op_name = to_text(op, "op");
    py::list results;
    for (const TensorType& type :
         mil::infer(mil::OpView(op_name, {}, std::move(items)), to_text(opset, "opset")))
        results.append(py::make_tuple(std::string(dtype_name(type.dtype)), shape_tuple(type.shape)));
    return results;
}

}  // namespace

void bind_mil(py::module_& module) {
    module.def("infer", &infer, py::arg("op"), py::arg("arguments"), py::arg("opset") = "ios18",
               "Check an operation and return its results' (dtype, shape).\n\n"
               "An argument is a tensor (dtype, shape), a constant (dtype, shape, bytes or str), or a list "
               "of those.\n"
               "Raises CompileError.");
    module.def("parse", &parse, py::arg("text"), "MIL text as plain data: see aneperf.mil.parse.");
    module.def(
        "check_weight_path", [](const py::object& path) { mil::check_weight_path(to_text(path, "path")); },
        py::arg("path"),
        "Raises ArgumentError unless `path` is \"@model_path/\" and a relative path that stays inside.");
}

}  // namespace ane::python
