// The contract in software.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <new>
#include <set>

#include "check.h"
#include "cpu/machine.h"
#include "device.h"
#include "lowering.h"
#include "mil/blob.h"
#include "mil/op.h"

namespace ane::emulator {

namespace {

class MemorySurface final : public Surface {
   public:
    MemorySurface(size_t bytes, std::optional<Layout> layout)
        : Surface(std::move(layout)), memory_(static_cast<int64_t>(bytes)) {}
    size_t bytes() const override { return static_cast<size_t>(memory_.size()); }

   private:
    std::byte* map(Access) override { return memory_.data(); }
    void unmap(Access) override {}

    AlignedBytes memory_;
};

EvaluateError unloaded() { return EvaluateError("the program is unloaded: compile it again"); }

// An input whose surface is an output's too: outputs may be written before the last element is read, so the
// steps read a copy.
struct InputCopy {
    const std::byte* surface;
    AlignedBytes memory;

    void refresh() const { std::memcpy(memory.data(), surface, static_cast<size_t>(memory.size())); }
};

class EmulatorProgram final : public Program {
   public:
    EmulatorProgram(Plan plan, std::vector<Port> inputs, std::vector<Port> outputs,
                    std::vector<std::string> notes, std::set<std::string> weight_paths)
        : plan_(std::move(plan)), arena_(plan_.arena_bytes), weight_paths_(std::move(weight_paths)) {
        inputs_ = std::move(inputs);
        outputs_ = std::move(outputs);
        notes_ = std::move(notes);
        stats_.weight_bytes = plan_.constant_bytes;
        stats_.activation_bytes = plan_.arena_bytes;
        stats_.operations = static_cast<int64_t>(plan_.steps.size());
        for (const Step& step : plan_.steps) steps_.push_back(step.computes);
    }

    void set_compile_time(std::chrono::nanoseconds time) { stats_.compile_ns = time.count(); }

    ProgramStats stats() const override { return stats_; }

    void unload() override {
        const auto lock = lock_running();
        loaded_ = false;
        plan_ = {};
        arena_ = {};
    }

    bool loaded() const override { return loaded_; }

    // The engine finds the program by its hash, and keeps the weights that it was compiled with.
    void reload(const Weights& weights) override {
        const auto lock = lock_running();
        if (!loaded_) throw unloaded();
        for (const auto& [path, bytes] : weights)
            if (!weight_paths_.contains(path)) throw no_such_weight(path);
    }

    std::vector<Counter> counters(const Bindings& inputs, const Bindings& outputs) override {
        bind(inputs, outputs)->evaluate();
        const std::string reason = "the emulator has no counters of an engine";
        return {{"hardware execution time", "ns", {}, reason}, {"performance counters", "bytes", {}, reason}};
    }

    std::vector<std::vector<std::string>> steps() const override { return steps_; }

    // `buffers` has a place for every buffer of the plan; those of the surfaces are filled in by the caller.
    void run(std::byte* const* buffers, std::span<const InputCopy> copies) {
        run_each(buffers, copies, [](const Step& step, const Execution& e) { step.run(e); });
    }

    std::vector<int64_t> time_each(std::byte* const* buffers, std::span<const InputCopy> copies) {
        using Clock = std::chrono::steady_clock;
        std::vector<int64_t> durations;
        durations.reserve(plan_.steps.size());
        run_each(buffers, copies, [&](const Step& step, const Execution& e) {
            const auto start = Clock::now();
            step.run(e);
            durations.push_back(std::chrono::nanoseconds(Clock::now() - start).count());
        });
        return durations;
    }

    const Plan& plan() const { return plan_; }
    std::byte* arena() const { return arena_.data(); }

   private:
    std::unique_ptr<Request> make_request(std::vector<std::shared_ptr<Surface>> inputs,
                                          std::vector<std::shared_ptr<Surface>> outputs,
                                          const BindOptions& options) override;

    template <typename RunStep>
    void run_each(std::byte* const* buffers, std::span<const InputCopy> copies, RunStep run_step) {
        const auto lock = lock_running();
        if (!loaded_) throw unloaded();
        for (const InputCopy& copy : copies) copy.refresh();
        const Execution execution{buffers, kernels(), ThreadPool::shared()};
        for (const Step& step : plan_.steps) run_step(step, execution);
    }

    // In a child of fork the lock may be held for ever: the pool refuses such a process first.
    std::unique_lock<std::mutex> lock_running() {
        ThreadPool::shared();
        return std::unique_lock(running_);
    }

    Plan plan_;
    AlignedBytes arena_;
    ProgramStats stats_;
    std::vector<std::vector<std::string>> steps_;
    const std::set<std::string> weight_paths_;
    std::mutex running_;  // one evaluation at a time: they share the arena
    std::atomic<bool> loaded_{true};
};

class EmulatorRequest final : public Request {
   public:
    EmulatorRequest(std::shared_ptr<EmulatorProgram> program, std::vector<std::shared_ptr<Surface>> inputs,
                    std::vector<std::shared_ptr<Surface>> outputs)
        : program_(std::move(program)) {
        const Plan& plan = program_->plan();
        for (const BufferPlan& buffer : plan.buffers)
            buffers_.push_back(buffer.storage == Storage::arena      ? program_->arena() + buffer.offset
                               : buffer.storage == Storage::constant ? buffer.constant.data()
                                                                     : nullptr);
        bind(plan.inputs, std::move(inputs), Surface::Access::read);
        bind(plan.outputs, std::move(outputs), Surface::Access::write);
        for (const Buffer input : plan.inputs) {
            std::byte*& data = buffers_[input];
            if (std::ranges::none_of(plan.outputs, [&](Buffer output) { return buffers_[output] == data; }))
                continue;
            copies_.push_back({data, AlignedBytes(plan.buffers[input].bytes)});
            data = copies_.back().memory.data();
        }
    }

    void evaluate() override { program_->run(buffers_.data(), copies_); }
    std::vector<int64_t> time_steps() override { return program_->time_each(buffers_.data(), copies_); }

   private:
    // An emulated surface is ordinary memory, which stays where it is: one lock for the request's whole life.
    void bind(const std::vector<Buffer>& ports, std::vector<std::shared_ptr<Surface>> surfaces,
              Surface::Access access) {
        for (size_t i = 0; i < ports.size(); ++i) {
            locks_.push_back(std::make_unique<Surface::Lock>(*surfaces[i], access));
            buffers_[ports[i]] = locks_.back()->data();
            surfaces_.push_back(std::move(surfaces[i]));
        }
    }

    std::shared_ptr<EmulatorProgram> program_;
    std::vector<std::shared_ptr<Surface>> surfaces_;
    std::vector<std::unique_ptr<Surface::Lock>> locks_;  // after surfaces_: released first
    std::vector<std::byte*> buffers_;
    std::vector<InputCopy> copies_;
};

// The engine heeds neither a weights buffer nor the number of a procedure that a program does not have.
std::unique_ptr<Request> EmulatorProgram::make_request(std::vector<std::shared_ptr<Surface>> inputs,
                                                       std::vector<std::shared_ptr<Surface>> outputs,
                                                       const BindOptions&) {
    const auto lock = lock_running();
    if (!loaded_) throw unloaded();
    return std::make_unique<EmulatorRequest>(std::static_pointer_cast<EmulatorProgram>(shared_from_this()),
                                             std::move(inputs), std::move(outputs));
}

std::vector<Port> ports(const mil::Function& function, const std::vector<mil::ValueId>& ids) {
    std::vector<Port> result;
    for (const mil::ValueId id : ids) {
        const mil::Value& value = function.values[id];
        result.push_back({value.name, {value.type.dtype, value.type.shape}});
    }
    std::ranges::sort(result, {}, &Port::name);
    return result;
}

class Emulator final : public Device {
   public:
    Emulator(const std::string& chip, CompileBudget budget)
        : Device(budget), profile_(chip_profile(chip)), kernels_(kernels()), threads_(ThreadPool::shared()) {}

    DeviceInfo info() const override {
        const std::string cpu = cpu_name();
        return {"emulator",
                std::string(profile_.name),
                {{"cpu", cpu.empty() ? "unavailable" : cpu},
                 {"simd", kernels_.level},
                 {"threads", std::to_string(threads_.size())},
                 {"gemm", std::string("aneperf ") + kernels_.level}}};
    }

    std::shared_ptr<Surface> make_surface(size_t bytes, std::optional<Layout> layout) override {
        if (bytes == 0) throw SurfaceError("a surface of 0 bytes");
        const int64_t machine = physical_memory();
        if (bytes > PTRDIFF_MAX || (machine > 0 && static_cast<int64_t>(bytes) > machine))
            throw SurfaceError("a surface of " + std::to_string(bytes) +
                               " bytes is larger than this machine's memory");
        try {
            return std::make_shared<MemorySurface>(bytes, std::move(layout));
        } catch (const std::bad_alloc&) {
            throw SurfaceError("no memory for a surface of " + std::to_string(bytes) + " bytes");
        }
    }

   private:
    std::shared_ptr<Program> compile_program(const std::string& mil_text, const Weights& weights,
                                             const CompileOptions& options) override {
        if (!options.strict)
            throw CompileError("NoCompiler",
                               "strict=False hands the text unread to Apple's compiler; the emulator reads "
                               "every text itself");
        const auto start = std::chrono::steady_clock::now();
        mil::Module program = mil::parse(mil_text);
        mil::Refusals refusals(mil::Refusals::Mode::throw_first);
        const std::vector<bool> sound = mil::check(program, refusals);
        std::vector<std::string> notes;
        const mil::Function& function = program.functions.front();
        check_limits(function, sound, profile_, refusals);
        mil::read_weights(program, weights, options.lenient_weights, notes);
        auto inputs = ports(function, function.inputs), outputs = ports(function, function.outputs);
        Lowering lowering(function, profile_, kernels_, threads_);
        int64_t activations = 0;
        try {
            Plan plan = lowering.plan(inputs, outputs, notes);
            activations = plan.arena_bytes;
            std::set<std::string> paths;
            for (const auto& [path, bytes] : weights) paths.insert(path);
            auto compiled = std::make_shared<EmulatorProgram>(
                std::move(plan), std::move(inputs), std::move(outputs), std::move(notes), std::move(paths));
            compiled->set_compile_time(std::chrono::steady_clock::now() - start);
            return compiled;
        } catch (const std::bad_alloc&) {
            throw CompileError("CompilationFailure",
                               "no memory for " + std::to_string(lowering.constant_bytes() >> 20) +
                                   " MiB of weights and " + std::to_string(activations >> 20) +
                                   " MiB of activations");
        }
    }

    const ChipProfile& profile_;
    const Kernels& kernels_;
    ThreadPool& threads_;
};

}  // namespace

}  // namespace ane::emulator

namespace ane {

std::shared_ptr<Device> open_emulator(const std::string& chip, CompileBudget budget) {
    return std::make_shared<emulator::Emulator>(chip, budget);
}

}  // namespace ane
