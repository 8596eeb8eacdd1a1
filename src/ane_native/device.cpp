#include "device.h"

#include <atomic>
#include <chrono>

namespace ane {

namespace {

std::atomic<int64_t> compiles{0};

constexpr uint32_t surface_too_small = 0x1d;  // the engine's own status for it

std::string names_of(const std::vector<Port>& ports) {
    std::string result;
    for (const Port& port : ports) result += (result.empty() ? "" : ", ") + port.name;
    return result;
}

std::vector<std::shared_ptr<Surface>> in_port_order(const std::vector<Port>& ports, const Bindings& bindings,
                                                    const char* side) {
    std::vector<std::shared_ptr<Surface>> surfaces;
    for (const Port& port : ports) {
        const auto found = bindings.find(port.name);
        if (found == bindings.end() || !found->second)
            throw EvaluateError(std::string(side) + " '" + port.name + "' has no surface");
        const size_t needed = static_cast<size_t>(port.layout.bytes());
        if (found->second->bytes() < needed)
            throw EvaluateError(std::string(side) + " '" + port.name + "': the surface has " +
                                    std::to_string(found->second->bytes()) + " bytes, the port needs " +
                                    std::to_string(needed) + " (status 0x1d)",
                                surface_too_small);
        surfaces.push_back(found->second);
    }
    for (const auto& [name, surface] : bindings) {
        bool known = false;
        for (const Port& port : ports) known = known || port.name == name;
        if (!known)
            throw EvaluateError("there is no " + std::string(side) + " '" + name + "'; the program has " +
                                names_of(ports));
    }
    return surfaces;
}

}  // namespace

int64_t Layout::rows() const {
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
    return rows;
}

std::vector<int64_t> Request::time(int64_t count) {
    using Clock = std::chrono::steady_clock;
    if (count < 1) throw ArgumentError("time: count is " + std::to_string(count) + ", must be at least 1");
    std::vector<int64_t> durations(static_cast<size_t>(count));
    for (int64_t& duration : durations) {
        const auto start = Clock::now();
        evaluate();
        duration = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
    }
    return durations;
}

std::unique_ptr<Request> Program::bind(const Bindings& inputs, const Bindings& outputs) {
    if (!loaded()) throw EvaluateError("the program is unloaded: compile it again");
    return make_request(in_port_order(inputs_, inputs, "input"), in_port_order(outputs_, outputs, "output"));
}

Device::Device(CompileBudget budget) : budget_(budget) {
    if (budget.soft < 1 || budget.hard < 1)
        throw ArgumentError("compile budget: soft is " + std::to_string(budget.soft) + ", hard is " +
                            std::to_string(budget.hard) + "; both must be at least 1");
}

int64_t Device::compiles_used() { return compiles; }

std::shared_ptr<Program> Device::compile(const std::string& mil_text, const Weights& weights,
                                         const CompileOptions& options) {
    // Claimed before the work, so that threads that compile at once cannot overrun the budget together.
    int64_t used = compiles.load();
    do {
        if (used >= budget_.soft)
            throw CompileBudgetError(
                "this process has used its " + std::to_string(budget_.soft) +
                " compiles; compile in a new process, or open the device with a larger budget");
        if (used >= budget_.hard)
            throw CompileError("CompilationFailure",
                               "the engine's compiler fails after " + std::to_string(budget_.hard) +
                                   " compiles in one process; compile in a new process");
    } while (!compiles.compare_exchange_weak(used, used + 1));
    return compile_program(mil_text, weights, options);
}

std::shared_ptr<Surface> Device::make_surface(const Layout& layout) {
    for (const int64_t extent : layout.shape)
        if (extent < 1) throw SurfaceError("shape " + to_string(layout.shape) + " has an extent below 1");
    const TensorType type{layout.dtype, layout.shape};
    if (dtype_bits(layout.dtype) < 8)
        throw SurfaceError("a surface holds whole bytes an element, not " +
                           std::string(dtype_name(layout.dtype)));
    constexpr int64_t limit = int64_t{1} << 40;
    if (type.elements() > limit / 64)  // the pitch takes at most 64 bytes an element
        throw SurfaceError("a surface for " + to_string(type) + " is larger than 1 TiB");
    return make_surface(static_cast<size_t>(layout.bytes()), layout);
}

}  // namespace ane
