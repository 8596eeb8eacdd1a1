// Devices, programs and surfaces.
#include "device.h"
#include "emulator/profile.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "bindings.h"
#include "exported_weights.h"

namespace ane::python {

namespace {

using AnyArray = Typed<"NDArray[Any]">;
using Durations = Typed<"NDArray[np.int64]">;
using Surfaces = Typed<"Mapping[str, Surface]">;

py::dtype numpy_dtype(DType dtype) {
    switch (dtype) {
        case DType::fp16: return py::dtype("float16");
        case DType::fp32: return py::dtype("float32");
        case DType::boolean: return py::dtype("bool");
        default: return py::dtype(std::string(dtype_name(dtype)));
    }
}

// The layout that a read or write goes by: the given one, or the surface's own.
Layout layout_for(const Surface& surface, const std::optional<Layout>& given) {
    if (!given && !surface.layout())
        throw SurfaceError("this surface was made by size: pass the layout of the tensor that it holds");
    const Layout layout = given ? *given : *surface.layout();
    if (static_cast<size_t>(layout.bytes()) > surface.bytes())
        throw SurfaceError("the tensor takes " + std::to_string(layout.bytes()) + " bytes, the surface has " +
                           std::to_string(surface.bytes()));
    return layout;
}

// Rows of a tensor from one pitch to another, in bytes.
void copy_rows(const Layout& layout, const std::byte* from, int64_t from_pitch, std::byte* to,
               int64_t to_pitch) {
    for (int64_t row = 0; row < layout.rows(); ++row)
        std::memcpy(to + row * to_pitch, from + row * from_pitch, static_cast<size_t>(layout.row_bytes()));
}

void write(Surface& surface, const AnyArray& object, const std::optional<Layout>& given) {
    const Layout layout = layout_for(surface, given);
    if (!py::isinstance<py::array>(object))
        throw SurfaceError("write takes a numpy array, not " + std::string(py::repr(py::type::of(object))));
    const auto array = py::reinterpret_borrow<py::array>(object);
    const py::dtype dtype = numpy_dtype(layout.dtype);
    const Shape shape(array.shape(), array.shape() + array.ndim());
    if (!array.dtype().is(dtype) && !array.dtype().equal(dtype))
        throw SurfaceError("the tensor is " + std::string(py::str(dtype)) + ", the array " +
                           std::string(py::str(py::object(array.dtype()))) + ": convert it with astype");
    if (shape != layout.shape)
        throw SurfaceError("the tensor is " + to_string(layout.shape) + ", the array " + to_string(shape));
    const py::array contiguous = py::array::ensure(array, py::array::c_style);
    if (!contiguous) throw SurfaceError("no memory to make the array contiguous");
    const auto* from = static_cast<const std::byte*>(contiguous.data());
    const WithoutGil without_gil;
    const Surface::Lock lock(surface, Surface::Access::write);
    copy_rows(layout, from, layout.row_bytes(), lock.data(), layout.row_pitch());
}

AnyArray read(Surface& surface, const std::optional<Layout>& given) {
    const Layout layout = layout_for(surface, given);
    py::array result(numpy_dtype(layout.dtype), layout.shape);
    auto* to = static_cast<std::byte*>(result.mutable_data());
    const WithoutGil without_gil;
    const Surface::Lock lock(surface, Surface::Access::read);
    copy_rows(layout, lock.data(), layout.row_pitch(), to, layout.row_bytes());
    return result;
}

Layout make_layout(const Text& dtype, const Ints& shape) {
    Layout layout{to_dtype(dtype, "dtype"), to_shape(shape, "shape")};
    if (layout.shape.size() > 5) throw ArgumentError("shape has more than 5 axes");
    for (const int64_t extent : layout.shape)
        if (extent < 1) throw ArgumentError("shape " + to_string(layout.shape) + " has an extent below 1");
    if (dtype_bits(layout.dtype) < 8)
        throw ArgumentError("a surface holds whole bytes an element, not " +
                            std::string(dtype_name(layout.dtype)));
    // The pitch takes at most 64 bytes an element.
    if (TensorType{layout.dtype, layout.shape}.elements() > (int64_t{1} << 40) / 64)
        throw ArgumentError("a tensor of shape " + to_string(layout.shape) + " is larger than 1 TiB");
    return layout;
}

Bindings to_bindings(const py::object& object, const char* side) {
    if (!py::isinstance<py::dict>(object))
        throw ArgumentError(std::string(side) + " must be a dict of surfaces by port name");
    Bindings bindings;
    for (const auto& [name, surface] : py::reinterpret_borrow<py::dict>(object)) {
        if (!py::isinstance<Surface>(surface))
            throw ArgumentError(std::string(side) + " " + std::string(py::repr(name)) + " is " +
                                std::string(py::repr(py::type::of(surface))) + ", must be a Surface");
        bindings[to_text(name, "a port's name")] = surface.cast<std::shared_ptr<Surface>>();
    }
    return bindings;
}

int64_t to_calls(const Int& object, int64_t most) {
    const int64_t count = to_integer(object, "count");
    if (count < 1 || count > most)
        throw ArgumentError("count is " + std::to_string(count) + ", must be 1 to " + std::to_string(most));
    return count;
}

// Runs in chunks, with a check for Ctrl-C between them. Only the evaluations are timed.
Durations time(Request& request, const Int& count_object) {
    constexpr int64_t most_calls = 100'000'000, chunk_ns = 50'000'000;
    const int64_t count = to_calls(count_object, most_calls);
    py::array_t<int64_t> durations(static_cast<py::ssize_t>(count));
    int64_t* to = durations.mutable_data();
    int64_t done = 0, chunk = 1;
    while (done < count) {
        std::vector<int64_t> part;
        {
            const WithoutGil without_gil;
            part = request.time(std::min(chunk, count - done));
        }
        std::ranges::copy(part, to + done);
        done += static_cast<int64_t>(part.size());
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        const int64_t elapsed = std::accumulate(part.begin(), part.end(), int64_t{1});
        chunk = std::clamp<int64_t>(chunk * chunk_ns / elapsed, 1, chunk * 16);
    }
    return durations;
}

using Names = Typed<"list[list[str]]">;

// Reserves for each call as many numbers as there are steps.
Durations time_steps(Request& request, const Int& count_object) {
    constexpr int64_t most_calls = 1'000'000, most_numbers = 100'000'000;
    const int64_t count = to_calls(count_object, most_calls);
    std::vector<int64_t> all;
    for (int64_t call = 0; call < count; ++call) {
        std::vector<int64_t> one;
        {
            const WithoutGil without_gil;
            one = request.time_steps();
        }
        if (call == 0 && static_cast<int64_t>(one.size()) > most_numbers / count)
            throw ArgumentError("count is " + std::to_string(count) + ", must be at most " +
                                std::to_string(most_numbers / static_cast<int64_t>(one.size())) +
                                " for this many steps");
        all.insert(all.end(), one.begin(), one.end());
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
    const auto calls = static_cast<py::ssize_t>(count);
    py::array_t<int64_t> durations({calls, static_cast<py::ssize_t>(all.size()) / calls});
    std::ranges::copy(all, durations.mutable_data());
    return durations;
}

// A program and the device that makes its surfaces.
struct DeviceProgram {
    std::shared_ptr<Program> program;
    std::shared_ptr<Device> device;

    std::unique_ptr<Request> bind(const Surfaces& inputs, const Surfaces& outputs,
                                  const BindOptions& options = {}) const {
        return program->bind(to_bindings(inputs, "inputs"), to_bindings(outputs, "outputs"), options);
    }

    std::vector<Counter> counters(const Surfaces& inputs, const Surfaces& outputs) const {
        const Bindings sources = to_bindings(inputs, "inputs"), results = to_bindings(outputs, "outputs");
        const WithoutGil without_gil;
        return program->counters(sources, results);
    }

    void evaluate(const Surfaces& inputs, const Surfaces& outputs) const {
        const auto request = bind(inputs, outputs);
        const WithoutGil without_gil;
        request->evaluate();
    }

    void unload() const {
        const WithoutGil without_gil;
        program->unload();
    }

    std::string describe() const {
        std::string text = "<Program";
        for (const Port& port : program->inputs()) text += " " + port.name;
        text += " ->";
        for (const Port& port : program->outputs()) text += " " + port.name;
        return text + (program->loaded() ? ">" : ", unloaded>");
    }

    Typed<"dict[str, NDArray[Any]]"> run(const py::kwargs& arrays) const {
        Bindings inputs, outputs;
        for (const Port& port : program->inputs()) {
            if (!arrays.contains(port.name.c_str()))
                throw ArgumentError("input '" + port.name + "' is missing: pass an array of " +
                                    to_string(TensorType{port.layout.dtype, port.layout.shape}));
            inputs[port.name] = device->make_surface(port.layout);
            write(*inputs[port.name], arrays[port.name.c_str()], {});
        }
        for (const auto& [name, array] : arrays)
            if (!inputs.contains(to_text(name, "a port's name")))
                throw ArgumentError("the program has no input '" + to_text(name, "a port's name") + "'");
        for (const Port& port : program->outputs()) outputs[port.name] = device->make_surface(port.layout);
        {
            const auto request = program->bind(inputs, outputs);
            const WithoutGil without_gil;
            request->evaluate();
        }
        py::dict results;
        for (const auto& [name, surface] : outputs) results[name.c_str()] = read(*surface, {});
        return results;
    }
};

// The largest quality of service that engines are known to take.
constexpr int64_t max_qos = 63;

DeviceProgram compile(const std::shared_ptr<Device>& device, const Text& text, const Files& weights,
                      bool lenient_weights, const Int& qos_object, bool strict) {
    const std::string mil_text = to_text(text, "text");
    const int64_t qos = to_integer(qos_object, "qos");
    if (qos < 0 || qos > max_qos)
        throw ArgumentError("qos is " + std::to_string(qos) + ", must be in 0.." + std::to_string(max_qos));
    const ExportedWeights exported(weights);
    const WithoutGil without_gil;
    return {
        device->compile(mil_text, exported.weights(), {lenient_weights, strict, static_cast<unsigned>(qos)}),
        device};
}

std::shared_ptr<Surface> make_surface(Device& device, const Typed<"int | Layout | Port">& layout) {
    if (py::isinstance<Layout>(layout)) return device.make_surface(layout.cast<const Layout&>());
    if (py::isinstance<Port>(layout)) return device.make_surface(layout.cast<const Port&>().layout);
    const int64_t bytes = to_integer(layout, "layout");
    if (bytes < 1) throw SurfaceError("a surface of " + std::to_string(bytes) + " bytes");
    return device.make_surface(static_cast<size_t>(bytes));
}

Typed<"dict[str, str]"> info(const Device& device) {
    const DeviceInfo info = device.info();
    py::dict result;
    result["kind"] = info.kind;
    result["chip"] = info.chip;
    for (const auto& [name, value] : info.properties) result[name.c_str()] = value;
    return result;
}

std::string describe(const Layout& layout) { return to_string(TensorType{layout.dtype, layout.shape}); }

void bind_layouts(py::module_& module) {
    py::class_<Layout>(
        module, "Layout",
        "The layout of a tensor in a surface: rows of the last axis, each on a 64-byte boundary.")
        .def(py::init(&make_layout), py::arg("dtype"), py::arg("shape"))
        .def_property_readonly("dtype", [](const Layout& l) { return std::string(dtype_name(l.dtype)); })
        .def_property_readonly("shape", [](const Layout& l) { return shape_tuple(l.shape); })
        .def_property_readonly("row_pitch", &Layout::row_pitch)
        .def_property_readonly("bytes", &Layout::bytes)
        .def(
            "__eq__", [](const Layout& a, const Layout& b) { return a == b; }, py::is_operator())
        .def("__repr__", [](const Layout& l) { return "<Layout " + describe(l) + ">"; });
    py::class_<Port>(module, "Port", "An input or output of a program.")
        .def_property_readonly("name", [](const Port& p) { return p.name; })
        .def_property_readonly("layout", [](const Port& p) { return p.layout; })
        .def_property_readonly("dtype", [](const Port& p) { return std::string(dtype_name(p.layout.dtype)); })
        .def_property_readonly("shape", [](const Port& p) { return shape_tuple(p.layout.shape); })
        .def_property_readonly("row_pitch", [](const Port& p) { return p.layout.row_pitch(); })
        .def_property_readonly("bytes", [](const Port& p) { return p.layout.bytes(); })
        .def("__repr__", [](const Port& p) { return "<Port " + p.name + ": " + describe(p.layout) + ">"; });
    py::class_<Surface, std::shared_ptr<Surface>>(module, "Surface",
                                                  "Memory that the device and the CPU share.")
        .def_property_readonly("bytes", &Surface::bytes)
        .def_property_readonly("layout", [](const Surface& s) { return s.layout(); })
        .def("__repr__",
             [](const Surface& s) {
                 return "<Surface of " + std::to_string(s.bytes()) + " bytes" +
                        (s.layout() ? " for " + describe(*s.layout()) : "") + ">";
             })
        .def("write", &write, py::arg("array"), py::arg("layout") = std::nullopt,
             "Copy `array` in, row by row. Its dtype and shape must be the layout's. Raises SurfaceError.")
        .def("read", &read, py::arg("layout") = std::nullopt, "Copy the tensor out. Raises SurfaceError.");
}

void bind_programs(py::module_& module) {
    py::class_<Request>(module, "Request",
                        "A program with its surfaces bound: built once, evaluated many times.")
        .def("evaluate", &Request::evaluate, py::call_guard<WithoutGil>(),
             "Run once and return when the outputs are written. Raises EvaluateError.")
        .def("time", &time, py::arg("count"),
             "Run `count` times and return each call's duration in nanoseconds.")
        .def("time_steps", &time_steps, py::arg("count"),
             "Run `count` times and return the nanoseconds of each step: [count, steps].\n\n"
             "Raises EvaluateError on an engine, which does not tell.");
    py::class_<ProgramStats>(
        module, "ProgramStats",
        "The resources of a compiled program. None marks what the device does not report.")
        .def_readonly("weight_bytes", &ProgramStats::weight_bytes)
        .def_readonly("activation_bytes", &ProgramStats::activation_bytes)
        .def_readonly("operations", &ProgramStats::operations)
        .def_readonly("compile_ns", &ProgramStats::compile_ns)
        .def_readonly("load_ns", &ProgramStats::load_ns)
        .def_readonly("retried_evaluations", &ProgramStats::retried_evaluations);
    py::class_<Counter>(module, "Counter",
                        "A statistic of the device. `value` is None for the given `reason`.")
        .def_readonly("name", &Counter::name)
        .def_readonly("unit", &Counter::unit)
        .def_readonly("value", &Counter::value)
        .def_readonly("reason", &Counter::reason);
    py::class_<DeviceProgram>(
        module, "Program",
        "A compiled and loaded program. Ports are in ASCII order of their names, as the engine binds them.")
        .def_property_readonly("inputs", [](const DeviceProgram& p) { return p.program->inputs(); })
        .def_property_readonly("outputs", [](const DeviceProgram& p) { return p.program->outputs(); })
        .def_property_readonly("notes", [](const DeviceProgram& p) { return p.program->notes(); })
        .def_property_readonly("stats", [](const DeviceProgram& p) { return p.program->stats(); })
        .def_property_readonly(
            "steps", [](const DeviceProgram& p) -> Names { return py::cast(p.program->steps()); },
            "Return, for each step of an evaluation, the names of the values that it computes.\n\n"
            "A step that loads or stores a port names the port. The list is empty on an engine.")
        .def_property_readonly("loaded", [](const DeviceProgram& p) { return p.program->loaded(); })
        .def("__repr__", &DeviceProgram::describe)
        .def("__enter__", [](const Typed<"Program">& self) { return self; })
        .def("__exit__", [](const DeviceProgram& p, const py::args&) { p.unload(); })
        .def(
            "bind",
            [](const DeviceProgram& p, const Surfaces& inputs, const Surfaces& outputs,
               const std::optional<std::shared_ptr<Surface>>& weights_buffer, const Int& procedure) {
                return p.bind(inputs, outputs,
                              {weights_buffer.value_or(nullptr), to_integer(procedure, "procedure")});
            },
            py::arg("inputs"), py::arg("outputs"), py::kw_only(), py::arg("weights_buffer") = std::nullopt,
            py::arg("procedure") = 0,
            "Bind surfaces by port name. A surface smaller than its port raises EvaluateError (status "
            "0x1d).\n\n"
            "`weights_buffer` and `procedure` go into the engine's request. Known engines ignore both.")
        .def("evaluate", &DeviceProgram::evaluate, py::arg("inputs"), py::arg("outputs"),
             "Bind and run once.")
        .def(
            "time",
            [](const DeviceProgram& p, const Surfaces& inputs, const Surfaces& outputs, const Int& count) {
                return time(*p.bind(inputs, outputs), count);
            },
            py::arg("inputs"), py::arg("outputs"), py::arg("count"),
            "Bind, run `count` times and return each call's duration in nanoseconds.")
        .def("run", &DeviceProgram::run,
             "Run once on arrays: make surfaces, write, evaluate, read every output.")
        .def(
            "reload",
            [](const DeviceProgram& p, const Files& weights) {
                const ExportedWeights exported(weights);
                const WithoutGil without_gil;
                p.program->reload(exported.weights());
            },
            py::arg("weights") = py::none(),
            "Replace weight files, unload, and load again without a compile.\n\n"
            "Raises ArgumentError for a path that the program does not have, CompileError if it does not "
            "load: from\nmacOS 27 on the system refuses files that changed.")
        .def("counters", &DeviceProgram::counters, py::arg("inputs"), py::arg("outputs"),
             "Evaluate with every statistic requested, and return what the device reports.")
        .def("unload", &DeviceProgram::unload, "Free the program. Later evaluations raise EvaluateError.");
}

Typed<"dict[str, Any]"> chip_profile(const Text& chip) {
    const emulator::ChipProfile& profile = emulator::chip_profile(to_text(chip, "chip"));
    py::dict result;
    result["is_engine"] = profile.is_engine();
    result["ignores_attention_mask"] = profile.ignores_attention_mask;
    result["slice_limit"] = profile.slice_limit;
    result["casts_fp32"] = profile.casts_fp32;
    result["max_spatial_extent"] = profile.max_spatial_extent;
    return result;
}

}  // namespace

void bind_device(py::module_& module) {
    bind_layouts(module);
    bind_programs(module);
    py::class_<CompileBudget>(module, "CompileBudget",
                              "The compiles allowed in one process.\n\n"
                              "After `soft` they are refused; after `hard` the engine's own compiler fails.")
        .def(py::init([](const Int& soft, const Int& hard) {
                 return CompileBudget{to_integer(soft, "soft"), to_integer(hard, "hard")};
             }),
             py::arg("soft") = CompileBudget{}.soft, py::arg("hard") = CompileBudget{}.hard)
        .def_readonly("soft", &CompileBudget::soft)
        .def_readonly("hard", &CompileBudget::hard)
        .def("__repr__", [](const CompileBudget& b) {
            return "CompileBudget(soft=" + std::to_string(b.soft) + ", hard=" + std::to_string(b.hard) + ")";
        });
    py::class_<Device, std::shared_ptr<Device>>(module, "Device", "A Neural Engine, or the emulator.")
        .def("__repr__",
             [](const Device& d) {
                 const DeviceInfo info = d.info();
                 return "<Device " + info.kind + ": " + info.chip + ">";
             })
        .def("info", &info,
             "Describe the device: \"kind\" (\"ane\" or \"emulator\"), \"chip\", and more, in display order.")
        .def("compile", &compile, py::arg("text"), py::arg("weights") = py::none(), py::kw_only(),
             py::arg("lenient_weights") = false, py::arg("qos") = CompileOptions{}.qos,
             py::arg("strict") = true,
             "Compile MIL text. `weights` maps paths (\"@model_path/weights/w.bin\") to bytes-like "
             "objects.\n\n"
             "`qos`, 0..63, is the quality of service of the engine's compilation, loading and evaluations:\n"
             "21 is the default, 9 background, 33 interactive.\n\n"
             "`strict=False` hands the text unread to Apple's compiler, on the engine only. The loaded "
             "program\n"
             "reports its ports, as tensors of four axes or five.")
        .def("make_surface", &make_surface, py::arg("layout"),
             "Make a zero-filled surface of a number of bytes, or for a tensor. Raises SurfaceError.")
        .def_property_readonly("compile_budget", &Device::compile_budget)
        .def_property_readonly(
            "compiles_used", [](const Device&) { return Device::compiles_used(); },
            "Return the number of compiles that this process has requested from any device.");
    module.def(
        "open_neural_engine",
        [](CompileBudget budget, bool client) {
            return open_neural_engine(budget, client ? Route::client : Route::memory);
        },
        py::arg("budget") = CompileBudget{}, py::kw_only(), py::arg("client").noconvert() = false,
        "Open the Apple Neural Engine, if `client` by way of the client of the engine's service.\n\n"
        "Raises DeviceUnavailable where there is none.");
    module.def(
        "open_emulator",
        [](const Text& chip, CompileBudget budget) { return open_emulator(to_text(chip, "chip"), budget); },
        py::arg("chip") = "h16", py::arg("budget") = CompileBudget{},
        "Open the emulator with a chip's profile, such as \"h18g\", or \"none\" for plain fp16 "
        "arithmetic.");
    module.def("chip_profile", &chip_profile, py::arg("chip"),
               "Return what the emulator's profile of a chip refuses or computes differently. Raises "
               "ArgumentError.");
}

}  // namespace ane::python
