#include "lowering.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "chain.h"
#include "cpu/machine.h"
#include "fusion.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

void check_memory(int64_t bytes) {
    const int64_t machine = physical_memory();
    if (machine > 0 && bytes > machine)
        throw CompileError("CompilationFailure", "the program needs " + std::to_string(bytes >> 20) +
                                                     " MiB, and this machine has " +
                                                     std::to_string(machine >> 20));
}

constexpr std::array families = {elementwise_lowerings, product_lowerings, reduction_lowerings,
                                 movement_lowerings,    window_lowerings,  storage_lowerings};

// For tests: without fusion every operation is a step that reads and writes memory.
bool fusion_wanted() {
    const char* text = std::getenv("ANEPERF_FUSION");
    return text == nullptr || std::string_view(text) != "0";
}

}  // namespace

Lowering::Lowering(const mil::Function& function, const ChipProfile& profile, const Kernels& kernels,
                   ThreadPool& threads)
    : function_(function),
      producers_(function.values.size()),
      profile_(profile),
      kernels_(kernels),
      threads_(threads),
      fuses_(fusion_wanted()) {
    for (const mil::Operation& operation : function.operations)
        for (const mil::ValueId result : operation.results) producers_[result] = &operation;
}

mil::ValueId Lowering::id(const mil::Value& value) const {
    return static_cast<mil::ValueId>(&value - function_.values.data());
}

Buffer Lowering::add_buffer(Storage storage, int64_t bytes) {
    check_memory(bytes + (storage == Storage::constant ? constant_bytes_ : 0));
    if (storage == Storage::constant) constant_bytes_ += bytes;
    plan_.buffers.push_back(
        {storage, bytes, 0, storage == Storage::constant ? AlignedBytes(bytes) : AlignedBytes()});
    constants_.push_back(plan_.buffers.back().constant.data());
    return static_cast<Buffer>(plan_.buffers.size() - 1);
}

Buffer Lowering::scratch(int64_t bytes) { return add_buffer(Storage::arena, bytes); }

int64_t Lowering::bytes(Buffer buffer) const { return plan_.buffers[buffer].bytes; }

Buffer Lowering::constant(const std::vector<float>& numbers) {
    const auto bytes = static_cast<int64_t>(numbers.size() * sizeof(float));
    const Buffer b = add_buffer(Storage::constant, bytes);
    std::memcpy(constants_[b], numbers.data(), static_cast<size_t>(bytes));
    return b;
}

Buffer Lowering::result(const mil::Value& value) {
    return packed_[id(value)] = add_buffer(Storage::arena, value.type.bytes());
}

void Lowering::alias(const mil::Value& to, const mil::Value& from) { packed_[id(to)] = buffer(from); }

bool Lowering::is_constant(const mil::Value& value) {
    if (value.constant) return true;
    const auto found = packed_.find(id(value));
    return found != packed_.end() && plan_.buffers[found->second].storage == Storage::constant;
}

Buffer Lowering::constant_buffer(const mil::Value& value) {
    const Buffer b = add_buffer(Storage::constant, value.type.bytes());
    load_constant({constants_.data(), kernels_, threads_}, value.constant->data, constants_[b]);
    return b;
}

Buffer Lowering::buffer(const mil::Value& value) {
    const auto [found, is_new] = packed_.try_emplace(id(value));
    if (is_new) found->second = constant_buffer(value);
    return found->second;
}

Buffer Lowering::to_floats(Buffer from, int64_t count) {
    const Buffer to = scratch(count * static_cast<int64_t>(sizeof(float)));
    step(halves_to_floats(from, to, count, profile_.numbers));
    return to;
}

Buffer Lowering::floats(const mil::Value& value) {
    const auto [found, is_new] = floats_.try_emplace(id(value));
    if (is_new) found->second = to_floats(buffer(value), value.type.elements());
    return found->second;
}

void Lowering::note(std::string text) {
    if (std::ranges::find(notes_, text) == notes_.end()) notes_.push_back(std::move(text));
}

bool Lowering::is_all_constant(const std::vector<Buffer>& reads) const {
    return std::ranges::all_of(reads,
                               [&](Buffer b) { return plan_.buffers[b].storage == Storage::constant; });
}

void Lowering::make_constant(Buffer b) {
    constant_bytes_ += plan_.buffers[b].bytes;
    check_memory(constant_bytes_);
    plan_.buffers[b].constant = AlignedBytes(plan_.buffers[b].bytes);
    plan_.buffers[b].storage = Storage::constant;
    constants_[b] = plan_.buffers[b].constant.data();
}

void Lowering::add_step(Step step) {
    step.computes = {computed_};
    plan_.steps.push_back(std::move(step));
}

void Lowering::step(std::vector<Buffer> reads, std::vector<Buffer> writes,
                    std::function<void(const Execution&)> run) {
    if (!is_all_constant(reads)) {
        add_step({std::move(reads), std::move(writes), std::move(run)});
        return;
    }
    for (const Buffer b : writes) make_constant(b);
    run({constants_.data(), kernels_, threads_});
}

void Lowering::step(Elementwise work) {
    std::vector<Buffer> reads = work.also_read;
    for (const Operand& operand : work.operands) reads.push_back(operand.buffer);
    const Buffer result = work.result.buffer;
    if (!is_all_constant(reads)) {
        add_step({std::move(reads), {result}, {}, std::move(work)});
        return;
    }
    make_constant(result);
    const Chain chain({{std::move(work), true}}, threads_.size());
    const AlignedBytes scratch(chain.scratch_bytes());
    chain.run({constants_.data(), kernels_, threads_}, scratch.data());
}

Operand Lowering::operand(const mil::Value& value, const Shape& shape) {
    return {
        buffer(value), dtype_bits(value.type.dtype) / 8, {shape, broadcast_strides(value.type.shape, shape)}};
}

Operand Lowering::result_operand(const mil::Value& value) {
    return {result(value), dtype_bits(value.type.dtype) / 8, packed_walk(value.type.elements())};
}

void Lowering::lower(const mil::Operation& operation) {
    const mil::OpView view(function_, operation);
    computed_ = function_.values[operation.results.front()].name;
    std::vector<const mil::Value*> results;
    for (const mil::ValueId result : operation.results) results.push_back(&function_.values[result]);
    for (const auto family : families)
        for (const LoweringEntry& entry : family()) {
            if (entry.op != operation.op) continue;
            entry.lower(*this, view, results);
            return;
        }
    view.refuse("", "the emulator does not run this operation");
}

const mil::Value& Lowering::port_value(const Port& port, std::span<const mil::ValueId> ids) const {
    const auto found =
        std::ranges::find_if(ids, [&](mil::ValueId i) { return function_.values[i].name == port.name; });
    return function_.values[*found];
}

void Lowering::add_input(const Port& port) {
    const mil::Value& value = port_value(port, function_.inputs);
    computed_ = port.name;
    const Buffer surface = add_buffer(Storage::surface, port.layout.bytes());
    plan_.inputs.push_back(surface);
    const bool is_exact = !profile_.is_engine() || value.type.dtype != DType::fp32;
    if (fuses_ && is_exact && port_walk(port.layout).is_packed())
        packed_[id(value)] = surface;
    else
        step(load(surface, port.layout, result(value), profile_.numbers));
}

void Lowering::add_output(const Port& port) {
    computed_ = port.name;
    const Buffer packed = buffer(port_value(port, function_.outputs));
    BufferPlan& computed = plan_.buffers[packed];
    // The step that computes the value can write to the surface itself, unless another port has taken it.
    if (fuses_ && computed.storage == Storage::arena && port_walk(port.layout).is_packed()) {
        computed.storage = Storage::surface;
        plan_.outputs.push_back(packed);
        return;
    }
    const Buffer surface = add_buffer(Storage::surface, port.layout.bytes());
    plan_.outputs.push_back(surface);
    // Runs even if the value is constant: the surface is there only at run time.
    add_step({{packed}, {surface}, {}, store(packed, port.layout, surface)});
}

void Lowering::check(const std::vector<bool>& sound, mil::Refusals& refusals) {
    for (const mil::ValueId id : function_.inputs) result(function_.values[id]);
    for (size_t i = 0; i < sound.size(); ++i) {
        const mil::Operation& operation = function_.operations[i];
        if (sound[i] && refusals.attempt(operation.op, [&] { lower(operation); })) continue;
        for (const mil::ValueId id : operation.results) result(function_.values[id]);
    }
}

Plan Lowering::plan(std::span<const Port> inputs, std::span<const Port> outputs,
                    std::vector<std::string>& notes) {
    for (const Port& port : inputs) add_input(port);
    for (const mil::Operation& operation : function_.operations) lower(operation);
    for (const Port& port : outputs) add_output(port);
    drop_dead_steps(plan_);
    fuse(plan_, workers(), fuses_);
    place(plan_);
    check_memory(plan_.constant_bytes + plan_.arena_bytes);
    notes.insert(notes.end(), notes_.begin(), notes_.end());
    return std::move(plan_);
}

}  // namespace ane::emulator
