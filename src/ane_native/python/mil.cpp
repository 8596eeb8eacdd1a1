// MIL text as plain data, the table of operations, and the checker for one operation.
#include <pybind11/stl.h>

#include <array>
#include <charconv>
#include <deque>
#include <memory>

#include "bindings.h"
#include "emulator/check.h"
#include "exported_weights.h"
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

Typed<"dict[str, Any]"> parse(const Text& text) {
    mil::Module program;
    {
        const std::string copy = to_text(text, "text");
        const WithoutGil without_gil;
        program = mil::parse(copy);
        mil::check_static(program);
    }
    py::list build_info, functions;
    if (program.build_info)
        for (const auto& [key, value] : *program.build_info) build_info.append(py::make_tuple(key, value));
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

Typed<"list[tuple[str, tuple[int, ...]]]"> infer(const Text& op, const Typed<"Mapping[str, Any]">& arguments,
                                                 const Text& opset) {
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
    const std::string op_name = to_text(op, "op"), opset_name = to_text(opset, "opset");
    py::list results;
    for (const TensorType& type : mil::infer(mil::OpView(op_name, opset_name, std::move(items))))
        results.append(py::make_tuple(std::string(dtype_name(type.dtype)), shape_tuple(type.shape)));
    return results;
}

Typed<"list[Refusal]"> check(const Text& text, const Files& weights, const Text& profile_name,
                             bool lenient_weights) {
    const emulator::ChipProfile& profile = emulator::chip_profile(to_text(profile_name, "profile"));
    const std::string copy = to_text(text, "text");
    const ExportedWeights exported(weights);
    std::vector<mil::Refusal> refusals;
    {
        const py::gil_scoped_release release;
        refusals = emulator::list_refusals(copy, weights.is_none() ? nullptr : &exported.weights(), profile,
                                           lenient_weights);
    }
    py::list result;
    for (mil::Refusal& refusal : refusals) result.append(std::move(refusal));
    return result;
}

void bind_check(py::module_& module) {
    py::class_<mil::Refusal>(module, "Refusal", "One reason why a program does not compile.")
        .def_property_readonly(
            "line", [](const mil::Refusal& r) { return r.error.where.line; },
            "Return the line, from 1; 0 if it concerns the whole program.")
        .def_property_readonly(
            "column", [](const mil::Refusal& r) { return r.error.where.column; },
            "Return the column in bytes, from 1; 0 if it concerns the whole program.")
        .def_property_readonly(
            "kind", [](const mil::Refusal& r) { return r.error.kind; },
            "Return \"InvalidMILProgram\", \"CompilationFailure\" or \"InvalidWeights\".")
        .def_property_readonly(
            "op", [](const mil::Refusal& r) { return r.op; },
            "Return the operation, \"const\", \"port\" or \"program\".")
        .def_property_readonly(
            "message", [](const mil::Refusal& r) { return r.error.message; },
            "Return the reason, without kind and place.")
        .def("__repr__", [](const mil::Refusal& r) {
            return "<Refusal line " + std::to_string(r.error.where.line) + ": " + r.error.message + ">";
        });
    module.def(
        "check", &check, py::arg("text"), py::arg("weights") = py::none(), py::arg("profile") = "none",
        py::arg("lenient_weights") = false,
        "List all that compile refuses, in the order of the text.\n\n"
        "After a refused statement the check goes on at the next one. Without `weights`, weight files\n"
        "are not read, and a program that has any is not tried on `profile`.");
}

Typed<"Literal['tensor', 'constant', 'tuple']"> role_name(const mil::Parameter& parameter) {
    switch (parameter.role) {
        case mil::Role::tensor: return py::str("tensor");
        case mil::Role::constant: return py::str("constant");
        case mil::Role::tuple: return py::str("tuple");
    }
    return py::str();
}

Typed<"tuple[DType, ...]"> dtype_names(const mil::Parameter& parameter) {
    py::list names;
    for (unsigned d = 0; d <= static_cast<unsigned>(DType::string); ++d)
        if (parameter.dtypes >> d & 1) names.append(std::string(dtype_name(static_cast<DType>(d))));
    return py::tuple(names);
}

// The shortest decimal that names a float: 1e-05 instead of the double nearest to it.
std::string shortest(float value) {
    std::array<char, 32> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    return {digits.data(), end};
}

Typed<"bool | int | float | str | tuple[int, ...] | None"> default_value(const mil::Parameter& parameter) {
    const auto convert = [](const auto& value) -> py::object {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::monostate>)
            return py::none();
        else if constexpr (std::is_same_v<T, std::vector<int64_t>>)
            return shape_tuple(value);
        else if constexpr (std::is_same_v<T, float>)
            return py::float_(py::str(shortest(value)));
        else
            return py::cast(value);
    };
    return std::visit(convert, parameter.otherwise);
}

// An operation and the name of its family.
struct Spec {
    const mil::OpSpec* op;
    std::string_view family;
};

Typed<"dict[str, Parameter]"> parameters(const Spec& spec) {
    py::dict result;
    for (const mil::Parameter& parameter : spec.op->parameters)
        result[py::str(std::string(parameter.name))] =
            py::cast(&parameter, py::return_value_policy::reference);
    return result;
}

Typed<"dict[str, OpSpec]"> operations() {
    py::dict result;
    for (const mil::Family& family : mil::families())
        for (const mil::OpSpec& op : family.operations)
            result[py::str(std::string(op.name))] = Spec{&op, family.name};
    return result;
}

void bind_operations(py::module_& module) {
    py::class_<mil::Parameter>(module, "Parameter", "A parameter of an operation.")
        .def_property_readonly("name", [](const mil::Parameter& p) { return p.name; })
        .def_property_readonly("role", &role_name,
                               "Return \"tensor\", \"constant\", or \"tuple\" for several tensors.")
        .def_property_readonly("dtypes", &dtype_names, "Return the element types that the engine takes.")
        .def_property_readonly(
            "required", [](const mil::Parameter& p) { return p.presence == mil::Presence::required; },
            "Return whether MIL text must give it.")
        .def_property_readonly(
            "default", &default_value,
            "Return the value of an absent argument, or None if absence has a meaning of its "
            "own.\n\nA builder writes it for a required parameter.");
    py::class_<Spec>(module, "OpSpec", "An operation of MIL, as the checker knows it.")
        .def_property_readonly("name", [](const Spec& s) { return s.op->name; })
        .def_property_readonly("family", [](const Spec& s) { return s.family; })
        .def_property_readonly(
            "opset", [](const Spec& s) { return "ios" + std::to_string(s.op->ios); },
            "Return the first opset that has it.")
        .def_property_readonly("parameters", &parameters,
                               "Return the parameters by name, in the order of the table.")
        .def_property_readonly(
            "results", [](const Spec& s) { return s.op->results; },
            "Return the number of results, or None if the arguments decide.");
    module.def("operations", &operations, "Return the operations that the engine takes, by name.");
}

}  // namespace

void bind_mil(py::module_& module) {
    bind_operations(module);
    bind_check(module);
    module.def("infer", &infer, py::arg("op"), py::arg("arguments"), py::arg("opset") = "ios18",
               "Check an operation and return its results' (dtype, shape).\n\n"
               "An argument is a tensor (dtype, shape), a constant (dtype, shape, bytes or str), or a list "
               "of those.\n"
               "Raises CompileError.");
    module.def("parse", &parse, py::arg("text"), "Parse MIL text to plain data; see aneperf.mil.parse.");
    module.def(
        "check_weight_path", [](const Text& path) { mil::check_weight_path(to_text(path, "path")); },
        py::arg("path"),
        "Raise ArgumentError unless `path` is \"@model_path/\" and a relative path that stays inside.");
}

}  // namespace ane::python
