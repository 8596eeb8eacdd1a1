// Checks a whole program.
#include <algorithm>
#include <array>

#include "op.h"

namespace ane::mil {

namespace {

[[noreturn]] void fail(const std::string& what, Location where = {}) {
    throw CompileError("InvalidMILProgram", what, where);
}

[[noreturn]] void refuse_tensor(const std::string& what, Location where) {
    throw CompileError("CompilationFailure", what, where);
}

// The version follows Apple's compiler and the opset the deployment target, so that each goes with each.
void check_version(const Module& module, const Function& function) {
    constexpr std::array<std::string_view, 2> versions = {"1.0", "1.3"};
    constexpr std::array<std::string_view, 4> opsets = {"ios15", "ios16", "ios17", "ios18"};
    if (std::ranges::find(versions, module.version) != versions.end() &&
        std::ranges::find(opsets, function.opset) != opsets.end())
        return;
    fail("program(" + module.version + ") with func " + function.name + "<" + function.opset +
         ">: write program(1.0) or program(1.3), with ios15, ios16, ios17 or ios18");
}

void check_port(const Value& value) {
    if (value.type.rank() > 5)
        fail("port '" + value.name + "' is " + to_string(value.type) +
                 "; the engine's tensors have at most 5 axes",
             value.where);
    if (value.type.dtype == DType::fp16 || value.type.dtype == DType::fp32) return;
    fail("port '" + value.name + "' is " + std::string(dtype_name(value.type.dtype)) +
             "; the engine's ports are fp16 or fp32",
         value.where);
}

void check_is_tensor(const Value& value) {
    if (value.container == "state")
        refuse_tensor("'" + value.name + "' is a state: " + std::string(refusal("read_state")), value.where);
    if (!value.container.empty())
        refuse_tensor("'" + value.name + "' is a " + std::string(value.container) +
                          ": the engine computes on tensors only",
                      value.where);
    const auto axis = std::ranges::find(value.type.shape, flexible) - value.type.shape.begin();
    if (axis < value.type.rank())
        refuse_tensor("axis " + std::to_string(axis) + " of " + value.name +
                          " is flexible: the engine compiles fixed shapes only",
                      value.where);
}

// True if nothing can be said about what computes with the value.
bool is_opaque(const Value& value) {
    return value.is_unknown || !value.container.empty() || value.is_flexible();
}

class Checker {
   public:
    Checker(const Function& function, Refusals& refusals)
        : function_(function),
          refusals_(refusals),
          is_opaque_(function.values.size()),
          is_doubtful_(function.values.size()) {
        for (size_t i = 0; i < function.values.size(); ++i) is_opaque_[i] = is_opaque(function.values[i]);
    }

    bool check(const Operation& operation);

   private:
    void check_results(const Operation& operation, const std::vector<TensorType>& inferred);
    bool has_tensors(const Operation& operation) const;
    // True if the types of all operands are known, and none may stand for a constant where one is wanted, or
    // be an integer of a shape's computation.
    bool is_known(const OpView& view, const Operation& operation) const;

    const Function& function_;
    Refusals& refusals_;
    std::vector<bool> is_opaque_;    // by value
    std::vector<bool> is_doubtful_;  // depends on a refused operation, so that it may stand for a constant
};

bool Checker::is_known(const OpView& view, const Operation& operation) const {
    for (const Argument& argument : operation.arguments)
        for (const ValueId id : argument.values) {
            if (is_opaque_[id]) return false;
            const Parameter* parameter = view.spec() ? find_parameter(*view.spec(), argument.name) : nullptr;
            const auto dtype = static_cast<unsigned>(function_.values[id].type.dtype);
            if (is_doubtful_[id] && parameter &&
                (parameter->role == Role::constant || !(parameter->dtypes >> dtype & 1)))
                return false;
        }
    return true;
}

bool Checker::check(const Operation& operation) {
    const OpView view(function_, operation);
    bool is_doubtful = false;
    for (const Argument& argument : operation.arguments)
        for (const ValueId id : argument.values)
            is_doubtful = is_doubtful || is_doubtful_[id] || is_opaque_[id];
    bool is_sound = false;
    const bool is_good = refusals_.attempt(operation.op, [&] {
        is_sound = is_known(view, operation);
        if (is_sound)
            check_results(operation, infer(view));
        else
            check_call(view);
    });
    for (const ValueId id : operation.results) is_doubtful_[id] = is_doubtful || !is_good;
    return is_sound && is_good && has_tensors(operation);
}

bool Checker::has_tensors(const Operation& operation) const {
    return !operation.results.empty() &&
           std::ranges::none_of(operation.results, [&](ValueId id) { return is_opaque_[id]; });
}

void Checker::check_results(const Operation& operation, const std::vector<TensorType>& inferred) {
    if (operation.results.empty()) return;  // check_static() says it
    if (inferred.size() != operation.results.size())
        fail(operation.op + ": gives " + std::to_string(inferred.size()) + " results, " +
                 std::to_string(operation.results.size()) + " are declared",
             operation.where);
    for (size_t i = 0; i < inferred.size(); ++i) {
        const Value& result = function_.values[operation.results[i]];
        if (is_opaque(result) || result.type == inferred[i]) continue;
        is_opaque_[operation.results[i]] = true;
        fail(operation.op + ": '" + result.name + "' is declared " + to_string(result.type) + " but is " +
                 to_string(inferred[i]),
             result.where);
    }
}

void check_operation_form(const Function& function, const Operation& operation) {
    const bool is_tensors =
        std::ranges::none_of(operation.results, [&](ValueId id) { return is_opaque(function.values[id]); });
    if (is_tensors && !operation.has_blocks && !operation.results.empty()) return;
    if (!refusal(operation.op).empty()) return;  // check() says it
    if (operation.has_blocks) fail(operation.op + ": only control flow has blocks", operation.where);
    if (operation.results.empty()) fail(operation.op + ": has no result", operation.where);
    for (const Argument& argument : operation.arguments)
        for (const ValueId id : argument.values)
            if (is_opaque(function.values[id])) return;
    for (const ValueId id : operation.results) check_is_tensor(function.values[id]);
}

}  // namespace

void check_static(const Module& module, Refusals& refusals) {
    for (const Function& function : module.functions) {
        for (const ValueId id : function.inputs)
            if (!function.values[id].is_unknown)
                refusals.attempt("port", [&] { check_is_tensor(function.values[id]); });
        for (const Operation& operation : function.operations)
            refusals.attempt(operation.op, [&] { check_operation_form(function, operation); });
    }
}

void check_static(const Module& module) {
    Refusals refusals(Refusals::Mode::throw_first);
    check_static(module, refusals);
}

std::vector<bool> check(const Module& module, Refusals& refusals) {
    if (module.functions.empty()) return {};  // the parser has said why
    const Function& function = module.functions.front();
    const auto attempt = [&](const auto& part) { refusals.attempt("program", part); };
    const bool has_header = !module.version.empty();
    attempt([&] {
        if (has_header && !module.build_info)
            fail("program has no buildInfo attribute, which the engine's compiler requires");
        if (has_header && module.build_info->empty())
            fail("program's buildInfo has no entry; no compiler is known to take that");
    });
    attempt([&] {
        if (module.functions.size() != 1)
            fail("program has " + std::to_string(module.functions.size()) +
                 " functions; compile each as a program of its own");
    });
    attempt([&] {
        if (has_header && !function.opset.empty()) check_version(module, function);
    });
    attempt([&] {
        if (function.name != "main")
            fail("function is called '" + function.name + "'; the engine runs 'main'");
    });
    attempt([&] {
        if (function.inputs.empty()) fail("main has no inputs; the engine needs at least one");
    });
    check_static(module, refusals);
    for (const auto& ports : {function.inputs, function.outputs}) {
        attempt([&] {
            if (ports.size() > 255)
                fail(std::to_string(ports.size()) + " ports; the engine takes at most 255 a side");
        });
        for (const ValueId id : ports)
            if (!is_opaque(function.values[id]))
                refusals.attempt("port", [&] { check_port(function.values[id]); });
    }
    Checker checker(function, refusals);
    std::vector<bool> sound;
    for (const Operation& operation : function.operations) sound.push_back(checker.check(operation));
    return sound;
}

void check(const Module& module) {
    Refusals refusals(Refusals::Mode::throw_first);
    check(module, refusals);
}

}  // namespace ane::mil
