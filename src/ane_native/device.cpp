#include "device.h"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace ane {

namespace {

std::atomic<int64_t> compiles{0};

constexpr uint32_t surface_too_small = 0x1d;  // the engine's own status for it
constexpr int64_t max_procedure = 128;        // the framework takes no request with more

std::string names_of(const std::vector<Port>& ports) {
    std::string result;
    for (const Port& port : ports) result += (result.empty() ? "" : ", ") + port.name;
    return result;
}

// A surface made for a tensor fits ports whose rows have the same layout, whatever their outer axes are.
void check_layout(const Port& port, const Surface& surface, const std::string& where) {
    if (!surface.layout()) return;
    const Layout &made_for = *surface.layout(), &needed = port.layout;
    if (made_for.dtype == needed.dtype && made_for.width() == needed.width() &&
        made_for.rows() == needed.rows() && made_for.row_pitch() == needed.row_pitch())
        return;
    throw EvaluateError(where + ": the port is " + to_string(TensorType{needed.dtype, needed.shape}) +
                        ", the surface was made for " +
                        to_string(TensorType{made_for.dtype, made_for.shape}));
}

std::vector<std::shared_ptr<Surface>> in_port_order(const std::vector<Port>& ports, const Bindings& bindings,
                                                    const std::string& side) {
    std::vector<std::shared_ptr<Surface>> surfaces;
    for (const Port& port : ports) {
        const std::string where = side + " '" + port.name + "'";
        const auto found = bindings.find(port.name);
        if (found == bindings.end() || !found->second) throw EvaluateError(where + " has no surface");
        const size_t needed = static_cast<size_t>(port.layout.bytes());
        if (found->second->bytes() < needed)
            throw EvaluateError(where + ": the surface has " + std::to_string(found->second->bytes()) +
                                    " bytes, the port needs " + std::to_string(needed) + " (status 0x1d)",
                                surface_too_small);
        check_layout(port, *found->second, where);
        surfaces.push_back(found->second);
    }
    for (const auto& [name, surface] : bindings)
        if (std::ranges::find(ports, name, &Port::name) == ports.end())
            throw EvaluateError("there is no " + side + " '" + name + "'; the program has " +
                                names_of(ports));
    return surfaces;
}

void check_distinct(const std::vector<Port>& ports, const std::vector<std::shared_ptr<Surface>>& surfaces) {
    for (size_t i = 0; i < surfaces.size(); ++i)
        for (size_t k = 0; k < i; ++k)
            if (surfaces[i] == surfaces[k])
                throw EvaluateError("outputs '" + ports[k].name + "' and '" + ports[i].name +
                                    "' have the same surface");
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

std::vector<int64_t> Request::time_steps() {
    throw EvaluateError("only the emulator tells how long the steps of a program take");
}

std::unique_ptr<Request> Program::bind(const Bindings& inputs, const Bindings& outputs,
                                       const BindOptions& options) {
    if (!loaded()) throw EvaluateError("the program is unloaded: compile it again");
    auto sources = in_port_order(inputs_, inputs, "input"),
         results = in_port_order(outputs_, outputs, "output");
    check_distinct(outputs_, results);
    if (options.procedure < 0 || options.procedure > max_procedure)
        throw ArgumentError("procedure is " + std::to_string(options.procedure) + ", must be in 0.." +
                            std::to_string(max_procedure));
    return make_request(std::move(sources), std::move(results), options);
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
                " compiles; compile in a newly started process, or open the device with a larger budget");
        if (used >= budget_.hard)
            throw CompileError("CompilationFailure",
                               "the engine's compiler fails after " + std::to_string(budget_.hard) +
                                   " compiles in one process; compile in a newly started one");
    } while (!compiles.compare_exchange_weak(used, used + 1));
    return compile_program(mil_text, weights, options);
}

std::shared_ptr<Surface> Device::make_surface(const Layout& layout) {
    return make_surface(static_cast<size_t>(layout.bytes()), layout);
}

}  // namespace ane
