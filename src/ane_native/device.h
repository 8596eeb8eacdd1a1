// The contract: a Device compiles MIL text into Programs, and a Program runs on Surfaces.
// It knows no Python, no Apple framework and no emulator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "tensor_type.h"

namespace ane {

// How a tensor lies in a surface: rows of the last axis, each starting on a 64-byte boundary unless the
// device says otherwise.
struct Layout {
    DType dtype = DType::fp16;
    Shape shape;
    int64_t pitch = 0;  // bytes from row to row; 0 follows the rule

    int64_t width() const { return shape.empty() ? 1 : shape.back(); }
    int64_t rows() const;
    int64_t row_bytes() const { return width() * dtype_bits(dtype) / 8; }
    int64_t row_pitch() const { return pitch ? pitch : (row_bytes() + 63) / 64 * 64; }
    int64_t bytes() const { return rows() * row_pitch(); }
    bool operator==(const Layout&) const = default;
};

// An input or output of a program.
struct Port {
    std::string name;
    Layout layout;
};

// Memory that the device and the CPU share.
class Surface {
   public:
    enum class Access { read, write };

    // Keeps the surface mapped for the CPU for as long as it lives.
    class Lock {
       public:
        Lock(Surface& surface, Access access) : surface_(surface), access_(access) {
            data_ = surface.map(access);
        }
        ~Lock() { surface_.unmap(access_); }
        Lock(const Lock&) = delete;
        Lock& operator=(const Lock&) = delete;
        std::byte* data() const { return data_; }

       private:
        Surface& surface_;
        Access access_;
        std::byte* data_;
    };

    virtual ~Surface() = default;
    virtual size_t bytes() const = 0;
    // The tensor this surface was made for, if it was made for one.
    const std::optional<Layout>& layout() const { return layout_; }

   protected:
    explicit Surface(std::optional<Layout> layout) : layout_(std::move(layout)) {}
    virtual std::byte* map(Access access) = 0;
    virtual void unmap(Access access) = 0;

   private:
    std::optional<Layout> layout_;
};

// Weight files by their path in the MIL text, such as "@model_path/weights/w.bin". Read during
// a compile or reload only.
using Weights = std::map<std::string, std::span<const std::byte>>;

// Surfaces by port name.
using Bindings = std::map<std::string, std::shared_ptr<Surface>>;

// A program with its surfaces bound: built once, evaluated many times.
class Request {
   public:
    virtual ~Request() = default;
    // Runs once and returns when the outputs are written. Throws EvaluateError.
    virtual void evaluate() = 0;
    // Runs `count` times and returns each call's duration in nanoseconds.
    std::vector<int64_t> time(int64_t count);
    // Runs once, as evaluate() does, and returns the duration of each of Program::steps() in nanoseconds.
    // Throws EvaluateError where there are none.
    virtual std::vector<int64_t> time_steps();
};

// The memory and compile time of a program, as far as the device reports them.
struct ProgramStats {
    std::optional<int64_t> weight_bytes;      // as the device keeps them
    std::optional<int64_t> activation_bytes;  // intermediate tensors and scratch memory, at their peak
    std::optional<int64_t> operations;        // run by one evaluation
    std::optional<int64_t> compile_ns;        // the device's compile of it, and its load
    std::optional<int64_t> load_ns;
    std::optional<int64_t> retried_evaluations;  // that the system canceled, and that ran once more
};

// Optional parts of a request. Known engines ignore both.
struct BindOptions {
    std::shared_ptr<Surface> weights_buffer;  // other weights for this request
    int64_t procedure = 0;                    // which of the program's functions
};

// A number that the device keeps of a program or its last evaluation: a value, or the reason for having none.
struct Counter {
    std::string name, unit;
    std::optional<int64_t> value;
    std::string reason;
};

// A compiled and loaded program. Ports are in ASCII order of their names, which is how the engine binds them.
class Program : public std::enable_shared_from_this<Program> {
   public:
    virtual ~Program() = default;
    const std::vector<Port>& inputs() const { return inputs_; }
    const std::vector<Port>& outputs() const { return outputs_; }
    // Notes of the compiler for the caller: lenient reading, arguments that the chip ignores.
    const std::vector<std::string>& notes() const { return notes_; }
    virtual ProgramStats stats() const = 0;
    // For each step of an evaluation, in order, the names of the values that it computes, and of the ports
    // that it loads or stores. Empty where the device does not tell.
    virtual std::vector<std::vector<std::string>> steps() const { return {}; }
    // Checks names and sizes: every port bound once, each surface at least as large as its port.
    std::unique_ptr<Request> bind(const Bindings& inputs, const Bindings& outputs,
                                  const BindOptions& options = {});
    // Frees the program. Later binds and evaluations throw EvaluateError.
    virtual void unload() = 0;
    virtual bool loaded() const = 0;
    // Writes `weights` over the files the program was compiled from, unloads it and loads it again, without a
    // compile. Throws ArgumentError for a path that it does not have, CompileError if it does not load, which
    // leaves it unloaded.
    virtual void reload(const Weights& weights) = 0;
    // Evaluates with every statistic asked for, and reads what there is. Throws CompileError if the program,
    // which the engine loads anew for it, does not load, which leaves it unloaded.
    virtual std::vector<Counter> counters(const Bindings& inputs, const Bindings& outputs) = 0;

   protected:
    std::vector<Port> inputs_, outputs_;
    std::vector<std::string> notes_;

   private:
    // Surfaces are in port order and large enough.
    virtual std::unique_ptr<Request> make_request(std::vector<std::shared_ptr<Surface>> inputs,
                                                  std::vector<std::shared_ptr<Surface>> outputs,
                                                  const BindOptions& options) = 0;
};

// Compiles allowed in one process. The engine's compiler fails after `hard`; compile() refuses after `soft`,
// so that a caller can hand over to another process in time.
struct CompileBudget {
    int64_t soft = 100;
    int64_t hard = 119;
};

struct CompileOptions {
    // Accept the weight headers of the published benchmarks, whose size and offset fields are unset.
    bool lenient_weights = false;
    // Parse and check the text before the device does. Otherwise Apple's compiler gets the text unread, and
    // the ports are what the loaded program reports: tensors of four axes, or of five.
    bool strict = true;
    // Quality of service of the program's compilation, loading and evaluations; the emulator has but one.
    unsigned qos = 21;
};

struct DeviceInfo {
    std::string kind;  // "ane" or "emulator"
    std::string chip;  // such as "Apple M4 Max"; for the emulator the profile, such as "h16"
    std::vector<std::pair<std::string, std::string>> properties;  // what else is known, in display order
};

class Device {
   public:
    explicit Device(CompileBudget budget);
    virtual ~Device() = default;
    virtual DeviceInfo info() const = 0;
    // Throws CompileError, CompileBudgetError.
    std::shared_ptr<Program> compile(const std::string& mil_text, const Weights& weights,
                                     const CompileOptions& options = {});
    // Zero-filled. Throws SurfaceError.
    virtual std::shared_ptr<Surface> make_surface(size_t bytes, std::optional<Layout> layout = {}) = 0;
    std::shared_ptr<Surface> make_surface(const Layout& layout);
    CompileBudget compile_budget() const { return budget_; }
    // Compiles that this process has asked of any device.
    static int64_t compiles_used();

   private:
    virtual std::shared_ptr<Program> compile_program(const std::string& mil_text, const Weights& weights,
                                                     const CompileOptions& options) = 0;
    CompileBudget budget_;
};

// The ways through the engine's framework: a model from memory, or the client of the engine's service.
enum class Route { memory, client };

// The Apple Neural Engine. Throws DeviceUnavailable where there is none, or not by this route.
std::shared_ptr<Device> open_neural_engine(CompileBudget budget, Route route);

// The software engine. `chip` is a profile such as "h16", or "none" for plain arithmetic without hazards.
std::shared_ptr<Device> open_emulator(const std::string& chip, CompileBudget budget);

}  // namespace ane
