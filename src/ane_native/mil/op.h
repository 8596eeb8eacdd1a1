// The table of MIL's operations, and one operation as the checker and the emulator read it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "graph.h"

namespace ane::mil {

class OpView;

using DTypes = uint32_t;  // a set, one bit for each DType
template <typename... D>
constexpr DTypes dtypes(D... d) {
    return ((DTypes{1} << static_cast<unsigned>(d)) | ...);
}

enum class Role : uint8_t { tensor, constant, tuple };
enum class Presence : uint8_t { required, optional };
// The value of an absent argument. std::monostate if there is none: absence has a meaning of its own.
using Default = std::variant<std::monostate, bool, int64_t, float, std::string_view, std::vector<int64_t>>;

struct Parameter {
    std::string_view name;
    Role role;
    DTypes dtypes;
    Presence presence = Presence::required;  // in MIL text
    Default otherwise = {};                  // for a required parameter, the value that a builder writes
};

struct OpSpec {
    std::string_view name;
    std::vector<Parameter> parameters;
    // Returns the result types of an operation whose arguments fit `parameters`.
    std::vector<TensorType> (*infer)(const OpView&);
    int ios = 15;                    // the first opset that has it
    std::optional<int> results = 1;  // nullopt if the number depends on the arguments
};

// A family has the same name in the checker, the lowering, the builder, the reference and the tests.
struct Family {
    std::string_view name;
    std::span<const OpSpec> operations;
};
// The tables are never destroyed: a thread may still compile while the process ends.
std::span<const Family> families();
std::span<const OpSpec> elementwise_ops();
std::span<const OpSpec> product_ops();
std::span<const OpSpec> reduction_ops();
std::span<const OpSpec> movement_ops();
std::span<const OpSpec> window_ops();
std::span<const OpSpec> storage_ops();

// Returns null for an operation that the table does not have.
const OpSpec* find_op(std::string_view name);
// Returns null for a parameter that the operation does not have.
const Parameter* find_parameter(const OpSpec& spec, std::string_view name);
// Returns the reason why the engine does not run an operation of MIL, or nothing for a name that MIL does not
// have.
std::string_view refusal(std::string_view name);

// Arguments by name, with their constants decoded. An absent argument has the default of the table. Every
// accessor throws CompileError with the argument's place.
class OpView {
   public:
    struct Item {
        std::string_view name;
        std::vector<const Value*> values;
        bool is_tuple = false;
        Location where;
    };

    OpView(std::string_view op, std::string_view opset, std::vector<Item> items)
        : op_(op), opset_(opset), spec_(find_op(op)), items_(std::move(items)) {}
    OpView(const Function& function, const Operation& operation);

    std::string_view op() const { return op_; }
    const OpSpec* spec() const { return spec_; }
    // Refuses what an opset before this one does not have.
    void need_opset(int ios) const;
    const std::vector<Item>& items() const { return items_; }
    bool has(std::string_view argument) const { return find(argument) != nullptr; }
    const Value& value(std::string_view argument) const;
    const TensorType& type(std::string_view argument) const { return value(argument).type; }
    const std::vector<const Value*>& tuple(std::string_view argument) const;

    int64_t integer(std::string_view argument) const;
    std::vector<int64_t> integers(std::string_view argument) const;
    std::vector<int64_t> pairs(std::string_view argument, int64_t count) const;  // [count, 2], row by row
    bool boolean(std::string_view argument) const;
    std::vector<bool> booleans(std::string_view argument, size_t count) const;  // all false if absent
    std::string text(std::string_view argument) const;
    // Converts a scalar or tensor of fp16, fp32 or integers to float.
    std::vector<float> numbers(std::string_view argument) const;
    float number(std::string_view argument) const;
    // Integers of any shape, row by row.
    std::vector<int64_t> whole_numbers(std::string_view argument) const;
    // Checks an axis against `rank`. A negative one counts from the end.
    int64_t axis(std::string_view argument, int64_t rank) const;
    // The same for a list, which is sorted; every axis if it is absent. Repetitions are refused.
    std::vector<int64_t> axes(std::string_view argument, int64_t rank) const;

    // Throws InvalidMILProgram at the argument, or at the operation if it has no such argument.
    [[noreturn]] void fail(std::string_view argument, const std::string& what) const;
    // Throws CompilationFailure: the program is well formed, but the engine does not run it.
    [[noreturn]] void refuse(std::string_view argument, const std::string& what) const;

   private:
    // The default of an absent argument; null if it is given or has none.
    template <typename T>
    const T* otherwise(std::string_view argument) const;
    std::vector<int64_t> integers_of_rank(std::string_view argument, int64_t rank) const;
    const Item* find(std::string_view argument) const;
    Location place(std::string_view argument) const;

    std::string_view op_;
    std::string_view opset_;
    const OpSpec* spec_;
    Location where_;
    std::vector<Item> items_;
};

// Checks that MIL and the engine have an operation with these arguments, whatever their types are. Throws
// CompileError.
void check_call(const OpView& operation);
// Checks one operation against the table and returns its result types. Throws CompileError.
std::vector<TensorType> infer(const OpView& operation);

// Refuses what no device takes: axes without an extent, state, lists, blocks.
void check_static(const Module& module, Refusals& refusals);
void check_static(const Module& module);
// Checks a whole module: version, names, ports, operations, declared types. Returns which operations of the
// first function are known to be sound. A value of a refused operation is taken as it is declared.
std::vector<bool> check(const Module& module, Refusals& refusals);
// Throws CompileError.
void check(const Module& module);

}  // namespace ane::mil
