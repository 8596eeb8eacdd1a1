// From a checked MIL function to a plan: each operation adds its steps.
//
// Why: everything that does not depend on inputs is decided here, once for each program: shapes, memory, the
// profile's departures from plain fp16, and the values of constants. A step that reads only constants runs at
// once, so decompressed and transposed weights are ready before the first evaluation. What remains is a list
// of steps over numbered buffers, which evaluation runs without a branch on the program.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "device.h"
#include "mil/op.h"
#include "plan.h"
#include "profile.h"
#include "strided.h"

namespace ane::emulator {

class Lowering {
   public:
    Lowering(const mil::Function& function, const ChipProfile& profile, const Kernels& kernels,
             ThreadPool& threads);

    const ChipProfile& profile() const { return profile_; }
    const Kernels& kernels() const { return kernels_; }
    int workers() const { return threads_.size(); }
    // Bytes of all constants so far, including one whose allocation failed.
    int64_t constant_bytes() const { return constant_bytes_; }

    // The packed elements of a value, as its dtype stores them.
    Buffer buffer(const mil::Value& value);
    // The same as fp32: converted once, now, if the value is constant, otherwise by a step.
    Buffer floats(const mil::Value& value);
    // Room for a result.
    Buffer result(const mil::Value& value);
    // `to` is another view of `from`: the same elements in the same order.
    void alias(const mil::Value& to, const mil::Value& from);
    Buffer scratch(int64_t bytes);
    int64_t bytes(Buffer buffer) const;
    Buffer constant(const std::vector<float>& numbers);
    bool is_constant(const mil::Value& value);

    mil::OpView view(const mil::Operation& operation) const { return {function_, operation}; }
    // True if steps may recompute a value instead of reading it from memory.
    bool fuses() const { return fuses_; }
    // Null for a port or a constant.
    const mil::Operation* producer(const mil::Value& value) const { return producers_[id(value)]; }

    // Adds a step, or runs it now if everything it reads is constant.
    void step(std::vector<Buffer> reads, std::vector<Buffer> writes,
              std::function<void(const Execution&)> run);
    void step(Elementwise work);
    // A value as it is read by work over `shape`, to which it broadcasts.
    Operand operand(const mil::Value& value, const Shape& shape);
    // Room for a result, as it is written by work over its own shape.
    Operand result_operand(const mil::Value& value);
    void note(std::string text);  // once, however often it is said

    // Lowers the operations that are sound, to find those that the profile refuses.
    void check(const std::vector<bool>& sound, mil::Refusals& refusals);
    Plan plan(std::span<const Port> inputs, std::span<const Port> outputs, std::vector<std::string>& notes);

   private:
    Buffer add_buffer(Storage storage, int64_t bytes);
    bool is_all_constant(const std::vector<Buffer>& reads) const;
    void make_constant(Buffer b);
    void add_input(const Port& port);
    void add_output(const Port& port);
    Buffer constant_buffer(const mil::Value& value);
    Buffer to_floats(Buffer from, int64_t count);
    void add_step(Step step);
    void lower(const mil::Operation& operation);
    mil::ValueId id(const mil::Value& value) const;
    const mil::Value& port_value(const Port& port, std::span<const mil::ValueId> ids) const;

    const mil::Function& function_;
    std::vector<const mil::Operation*> producers_;  // by value
    const ChipProfile& profile_;
    const Kernels& kernels_;
    ThreadPool& threads_;
    const bool fuses_;
    Plan plan_;
    std::string computed_;               // the value that is lowered now
    std::vector<std::byte*> constants_;  // by buffer: what steps that run at compile time work on
    int64_t constant_bytes_ = 0;
    // Where each value lies, in each form that an operation has asked for.
    std::unordered_map<mil::ValueId, Buffer> packed_, floats_;
    std::vector<std::string> notes_;
};

using Results = std::span<const mil::Value* const>;

struct LoweringEntry {
    std::string_view op;
    void (*lower)(Lowering& l, const mil::OpView& op, Results results);
};

// One table for each family of operations, in lower/.
std::span<const LoweringEntry> elementwise_lowerings();
std::span<const LoweringEntry> product_lowerings();
std::span<const LoweringEntry> reduction_lowerings();
std::span<const LoweringEntry> movement_lowerings();
std::span<const LoweringEntry> window_lowerings();
std::span<const LoweringEntry> storage_lowerings();

}  // namespace ane::emulator
