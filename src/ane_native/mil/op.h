// One operation as the checker and the emulator see it, and the table of operations.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph.h"

namespace ane::mil {

// Arguments by name, with their constants decoded. Every accessor throws CompileError with the argument's
// place.
class OpView {
   public:
    struct Item {
        std::string_view name;
        std::vector<const Value*> values;
        bool is_tuple = false;
        Location where;
    };

    OpView(std::string_view op, Location where, std::vector<Item> items)
        : op_(op), where_(where), items_(std::move(items)) {}
    OpView(const Function& function, const Operation& operation);

    std::string_view op() const { return op_; }
    const std::vector<Item>& items() const { return items_; }
    bool has(std::string_view argument) const { return find(argument) != nullptr; }
    const Value& value(std::string_view argument) const;
    const TensorType& type(std::string_view argument) const { return value(argument).type; }
    const std::vector<const Value*>& tuple(std::string_view argument) const;

    int64_t integer(std::string_view argument) const;
    int64_t integer(std::string_view argument, int64_t otherwise) const;
    std::vector<int64_t> integers(std::string_view argument) const;
    std::vector<int64_t> integers(std::string_view argument, std::vector<int64_t> otherwise) const;
    std::vector<int64_t> pairs(std::string_view argument, int64_t count) const;  // [count, 2], row by row
    bool boolean(std::string_view argument, bool otherwise) const;
    std::vector<bool> booleans(std::string_view argument, size_t count) const;  // all false if absent
    const std::string& text(std::string_view argument) const;
    std::string text(std::string_view argument, const char* otherwise) const;
    // A scalar or tensor of fp16, fp32 or integers, as float.
    std::vector<float> numbers(std::string_view argument) const;
    float number(std::string_view argument) const;
    float number(std::string_view argument, float otherwise) const;
    // An axis counted from the end if negative, checked against `rank`.
    int64_t axis(std::string_view argument, int64_t rank, std::optional<int64_t> otherwise = {}) const;
    // The same for a list: sorted, without repetitions.
    std::vector<int64_t> axes(std::string_view argument, int64_t rank) const;

    // InvalidMILProgram at the argument, or at the operation if it has no such argument.
    [[noreturn]] void fail(std::string_view argument, const std::string& what) const;
    // CompilationFailure: well formed, but the engine does not run it.
    [[noreturn]] void refuse(std::string_view argument, const std::string& what) const;

   private:
    std::vector<int64_t> integers_of_rank(std::string_view argument, int64_t rank) const;
    const Item* find(std::string_view argument) const;
    Location place(std::string_view argument) const;

    std::string_view op_;
    Location where_;
    std::vector<Item> items_;
};

using DTypes = uint32_t;  // a set, one bit for each DType
template <typename... D>
constexpr DTypes dtypes(D... d) {
    return ((DTypes{1} << static_cast<unsigned>(d)) | ...);
}

enum class Role : uint8_t { tensor, constant, tuple };

struct Parameter {
    std::string_view name;
    Role role;
    DTypes dtypes;
    bool required = true;
};

struct OpSpec {
    std::string_view name;
    std::vector<Parameter> parameters;
    // Result types of an operation whose arguments fit `parameters`.
    std::vector<TensorType> (*infer)(const OpView&);
    int ios = 15;  // the first opset that has it
};

// Null for an operation that the table does not have.
const OpSpec* find_op(std::string_view name);
// Why the engine does not run an operation that MIL has and the table does not; empty for a name that MIL
// does not have.
std::string_view refusal(std::string_view name);

// Checks one operation against the table and returns its result types. Throws CompileError.
std::vector<TensorType> infer(const OpView& operation, std::string_view opset);

// Checks a whole program: version, names, ports, operations, declared types. Throws CompileError.
void check(const Program& program);

// The tables that find_op searches, one file for each family.
std::span<const OpSpec> elementwise_ops();
std::span<const OpSpec> product_ops();
std::span<const OpSpec> reduction_ops();
std::span<const OpSpec> movement_ops();
std::span<const OpSpec> window_ops();
std::span<const OpSpec> storage_ops();

}  // namespace ane::mil
