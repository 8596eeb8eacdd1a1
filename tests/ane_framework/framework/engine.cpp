#include "engine.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "device.h"

struct AneEngineProgram {
    struct NamedPort {
        ane::Port port;
        std::string dtype;
        AneEnginePort view;
    };

    std::shared_ptr<ane::Program> program;
    std::vector<NamedPort> inputs, outputs;

    const std::vector<NamedPort>& ports(AneEngineSide side) const {
        return side == ANE_ENGINE_INPUTS ? inputs : outputs;
    }
};

struct AneEngineRun {
    std::unique_ptr<ane::Request> request;
};

namespace {

// A surface in memory that somebody else owns.
class BorrowedSurface final : public ane::Surface {
   public:
    explicit BorrowedSurface(const AneEngineMemory& memory) : Surface(std::nullopt), memory_(memory) {}
    size_t bytes() const override { return memory_.bytes; }

   private:
    std::byte* map(Access) override { return static_cast<std::byte*>(memory_.data); }
    void unmap(Access) override {}

    AneEngineMemory memory_;
};

// The chip that _ANEDeviceInfo names. The stand-in counts compiles itself.
ane::Device& device() {
    constexpr int64_t unlimited = std::numeric_limits<int64_t>::max();
    static const auto instance = ane::open_emulator("h16", {unlimited, unlimited});
    return *instance;
}

// Returns the result of `work`, or null and its exception as text, without our own prefix "[compile] ".
template <typename Work>
auto guarded(char** error, const Work& work) -> decltype(work()) {
    std::string what;
    try {
        return work();
    } catch (const std::exception& exception) {
        what = exception.what();
    } catch (...) {
        what = "unknown failure";
    }
    if (what.starts_with('[') && what.find("] ") != what.npos) what.erase(0, what.find("] ") + 2);
    *error = strdup(what.c_str());
    return {};
}

std::string engine_dtype(ane::DType dtype) {
    switch (dtype) {
        case ane::DType::fp16: return "Float16";
        case ane::DType::fp32: return "Float32";
        case ane::DType::int8: return "Int8";
        case ane::DType::uint8: return "UInt8";
        default: return std::string(ane::dtype_name(dtype));
    }
}

// The axes are N, C, D, H, W; a tensor of rank 4 has no D, and lower ranks lack the first ones.
AneEnginePort view(const ane::Port& port, const std::string& dtype) {
    ane::Shape shape = port.layout.shape;
    if (shape.size() < 5) {
        shape.insert(shape.begin(), 4 - std::min<size_t>(shape.size(), 4), 1);
        shape.insert(shape.begin() + 2, 1);
    }
    AneEnginePort view{};
    view.name = port.name.c_str();
    view.dtype = dtype.c_str();
    view.batches = shape[0];
    view.channels = shape[1];
    view.depth = shape[2];
    view.height = shape[3];
    view.width = shape[4];
    view.row_stride = port.layout.row_pitch();
    view.depth_stride = view.height * view.row_stride;
    view.plane_stride = view.depth * view.depth_stride;
    view.batch_stride = view.channels * view.plane_stride;
    view.bytes = static_cast<size_t>(port.layout.bytes());
    return view;
}

std::vector<AneEngineProgram::NamedPort> named_ports(const std::vector<ane::Port>& ports) {
    std::vector<AneEngineProgram::NamedPort> result;
    for (const ane::Port& port : ports) result.push_back({port, engine_dtype(port.layout.dtype), {}});
    for (auto& named : result) named.view = view(named.port, named.dtype);
    return result;
}

ane::Bindings bindings(const std::vector<AneEngineProgram::NamedPort>& ports, const AneEngineMemory* memory) {
    ane::Bindings result;
    for (const auto& named : ports) result[named.port.name] = std::make_shared<BorrowedSurface>(*memory++);
    return result;
}

}  // namespace

AneEngineProgram* ane_engine_compile(const void* mil, size_t mil_bytes, const AneEngineFile* files,
                                     size_t file_count, char** error) {
    return guarded(error, [&] {
        const std::string text(static_cast<const char*>(mil), mil_bytes);
        ane::Weights weights;
        for (size_t i = 0; i < file_count; ++i)
            weights[files[i].path] = {static_cast<const std::byte*>(files[i].data), files[i].bytes};
        auto program = std::make_unique<AneEngineProgram>();
        // Engines since the M3 take the published benchmarks' weight headers (MX inmem_peak.m, M3-M5).
        program->program = device().compile(text, weights, {.lenient_weights = true});
        program->inputs = named_ports(program->program->inputs());
        program->outputs = named_ports(program->program->outputs());
        return program.release();
    });
}

void ane_engine_free_program(AneEngineProgram* program) { delete program; }

size_t ane_engine_port_count(const AneEngineProgram* program, AneEngineSide side) {
    return program->ports(side).size();
}

const AneEnginePort* ane_engine_port(const AneEngineProgram* program, AneEngineSide side, size_t index) {
    return &program->ports(side)[index].view;
}

AneEngineRun* ane_engine_bind(AneEngineProgram* program, const AneEngineMemory* inputs,
                              const AneEngineMemory* outputs, char** error) {
    return guarded(error, [&] {
        return new AneEngineRun{
            program->program->bind(bindings(program->inputs, inputs), bindings(program->outputs, outputs))};
    });
}

void ane_engine_free_run(AneEngineRun* run) { delete run; }

bool ane_engine_evaluate(AneEngineRun* run, char** error) {
    return guarded(error, [&] {
        run->request->evaluate();
        return true;
    });
}
