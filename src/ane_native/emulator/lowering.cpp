#include "lowering.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "../host/machine.h"
#include "steps/transfer.h"

namespace ane::emulator {

namespace {

void check_memory(int64_t bytes) {
    const int64_t machine = physical_memory();
    if (machine > 0 && bytes > machine)
        throw CompileError("CompilationFailure", "the program needs " + std::to_string(bytes >> 20) +
                                                     " MiB, and this machine has " +
                                                     std::to_string(machine >> 20));
}

constexpr std::array families = {convolution_lowerings,   transposed_convolution_lowerings,
                                 matmul_lowerings,        elementwise_lowerings,
                                 row_lowerings,           norm_lowerings,
                                 pooling_lowerings,       shape_lowerings,
                                 rearrangement_lowerings, sampling_lowerings,
                                 quantization_lowerings,  compression_lowerings};

constexpr std::array<std::string_view, 6> products = {
    "conv", "conv_transpose", "einsum", "linear", "matmul", "scaled_dot_product_attention"};

}  // namespace

Lowering::Lowering(const mil::Function& function, const ChipProfile& profile, const Kernels& kernels,
                   ThreadPool& threads)
    : function_(function), profile_(profile), kernels_(kernels), threads_(threads) {}

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

Buffer Lowering::result(const mil::Value& value) {
    return exact_.packed[id(value)] = add_buffer(Storage::arena, value.type.bytes());
}

void Lowering::alias(const mil::Value& to, const mil::Value& from) { exact_.packed[id(to)] = buffer(from); }

bool Lowering::is_constant(const mil::Value& value) {
    if (value.constant) return true;
    const auto found = exact_.packed.find(id(value));
    return found != exact_.packed.end() && plan_.buffers[found->second].storage == Storage::constant;
}

Buffer Lowering::constant_buffer(const mil::Value& value) {
    const Buffer b = add_buffer(Storage::constant, value.type.bytes());
    std::byte* data = plan_.buffers[b].constant.data();
    std::memcpy(data, value.constant->data.data(), value.constant->data.size());
    if (value.type.dtype == DType::fp16 && !profile_.has_nan)
        nan_to_infinity(reinterpret_cast<half*>(data), value.type.elements());
    return b;
}

Buffer Lowering::exact(const mil::Value& value) {
    const auto found = exact_.packed.find(id(value));
    if (found != exact_.packed.end()) return found->second;
    return exact_.packed[id(value)] = constant_buffer(value);
}

Buffer Lowering::flushed(const mil::Value& value) {
    if (value.type.dtype != DType::fp16) return exact(value);
    const int64_t count = value.type.elements();
    const Buffer from = exact(value), to = scratch(value.type.bytes());
    step({from}, {to},
         [=](const Execution& e) { flush_subnormals(e.at<half>(from), e.at<half>(to), count); });
    return to;
}

Buffer Lowering::buffer(const mil::Value& value) {
    const auto found = operands_->packed.find(id(value));
    if (found != operands_->packed.end()) return found->second;
    return operands_->packed[id(value)] = operands_ == &flushed_ ? flushed(value) : exact(value);
}

Buffer Lowering::floats(const mil::Value& value) {
    const auto found = operands_->floats.find(id(value));
    if (found != operands_->floats.end()) return found->second;
    const int64_t count = value.type.elements();
    const Buffer from = buffer(value), to = scratch(count * static_cast<int64_t>(sizeof(float)));
    step({from}, {to},
         [=](const Execution& e) { halves_to_floats(e, e.at<half>(from), e.at<float>(to), count); });
    return operands_->floats[id(value)] = to;
}

void Lowering::note(std::string text) {
    if (std::ranges::find(notes_, text) == notes_.end()) notes_.push_back(std::move(text));
}

void Lowering::step(std::vector<Buffer> reads, std::vector<Buffer> writes,
                    std::function<void(const Execution&)> run) {
    const bool constant =
        std::ranges::all_of(reads, [&](Buffer b) { return plan_.buffers[b].storage == Storage::constant; });
    if (!constant) {
        plan_.steps.push_back({std::move(reads), std::move(writes), std::move(run)});
        return;
    }
    for (const Buffer b : writes) {
        constant_bytes_ += plan_.buffers[b].bytes;
        check_memory(constant_bytes_);
        plan_.buffers[b].constant = AlignedBytes(plan_.buffers[b].bytes);
        plan_.buffers[b].storage = Storage::constant;
        constants_[b] = plan_.buffers[b].constant.data();
    }
    run({constants_.data(), kernels_, threads_});
}

void Lowering::lower(const mil::Operation& operation) {
    const mil::OpView view(function_, operation);
    std::vector<const mil::Value*> results;
    for (const mil::ValueId result : operation.results) results.push_back(&function_.values[result]);
    for (const auto family : families)
        for (const LoweringEntry& entry : family()) {
            if (entry.op != operation.op) continue;
            const bool flushes = profile_.flushes_product_subnormals &&
                                 std::ranges::find(products, operation.op) != products.end();
            operands_ = flushes ? &flushed_ : &exact_;
            entry.lower(*this, view, results);
            operands_ = &exact_;
            return;
        }
    view.refuse("", "the emulator does not run this operation");
}

const mil::Value& Lowering::port_value(const Port& port, std::span<const mil::ValueId> ids) const {
    const auto found =
        std::ranges::find_if(ids, [&](mil::ValueId i) { return function_.values[i].name == port.name; });
    return function_.values[*found];
}

Plan Lowering::plan(std::span<const Port> inputs, std::span<const Port> outputs,
                    std::vector<std::string>& notes) {
    for (const Port& port : inputs) {
        const Buffer surface = add_buffer(Storage::surface, port.layout.bytes());
        const Buffer packed = result(port_value(port, function_.inputs));
        plan_.inputs.push_back(surface);
        step({surface}, {packed}, [=, layout = port.layout, has_nan = profile_.has_nan](const Execution& e) {
            load(e, layout, e.at<std::byte>(surface), e.at<std::byte>(packed), has_nan);
        });
    }
    for (const mil::Operation& operation : function_.operations) lower(operation);
    for (const Port& port : outputs) {
        const Buffer packed = buffer(port_value(port, function_.outputs));
        const Buffer surface = add_buffer(Storage::surface, port.layout.bytes());
        plan_.outputs.push_back(surface);
        // Written as a step of its own even if the value is constant: the surface is there only at run time.
        plan_.steps.push_back({{packed}, {surface}, [=, layout = port.layout](const Execution& e) {
                                   store(e, layout, e.at<std::byte>(packed), e.at<std::byte>(surface));
                               }});
    }
    finish(plan_);
    check_memory(plan_.constant_bytes + plan_.arena_bytes);
    notes.insert(notes.end(), notes_.begin(), notes_.end());
    return std::move(plan_);
}

}  // namespace ane::emulator
