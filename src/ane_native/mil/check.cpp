#include <array>

#include "op.h"

namespace ane::mil {

namespace {

[[noreturn]] void fail(const std::string& what, Location where = {}) {
    throw CompileError("InvalidMILProgram", what, where);
}

// Program versions and the opsets that they are seen with.
void check_version(const Module& module, const Function& function) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 4> known = {
        {{"1.0", "ios15"}, {"1.0", "ios16"}, {"1.3", "ios17"}, {"1.3", "ios18"}}};
    for (const auto& [version, opset] : known)
        if (module.version == version && function.opset == opset) return;
    fail("program(" + module.version + ") with func " + function.name + "<" + function.opset +
         ">: write program(1.3) with ios18 or ios17, or program(1.0) with ios16 or ios15");
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

void check_operation(const Function& function, const Operation& operation) {
    const auto inferred = infer(OpView(function, operation), function.opset);
    if (inferred.size() != operation.results.size())
        fail(operation.op + ": gives " + std::to_string(inferred.size()) + " results, " +
                 std::to_string(operation.results.size()) + " are declared",
             operation.where);
    for (size_t i = 0; i < inferred.size(); ++i) {
        const Value& result = function.values[operation.results[i]];
        if (result.type != inferred[i])
            fail(operation.op + ": '" + result.name + "' is declared " + to_string(result.type) + " but is " +
                     to_string(inferred[i]),
                 result.where);
    }
}

}  // namespace

void check(const Module& module) {
    if (module.build_info.empty())
        fail("program has no buildInfo attribute, which the engine's compiler requires");
    if (module.functions.size() != 1)
        fail("program has " + std::to_string(module.functions.size()) +
             " functions; compile each as a program of its own");
    const Function& function = module.functions.front();
    check_version(module, function);
    if (function.name != "main") fail("function is called '" + function.name + "'; the engine runs 'main'");
    if (function.inputs.empty()) fail("main has no inputs; the engine needs at least one");
    for (const auto& ports : {function.inputs, function.outputs}) {
        if (ports.size() > 255)
            fail(std::to_string(ports.size()) + " ports; the engine takes at most 255 a side");
        for (const ValueId id : ports) check_port(function.values[id]);
    }
    for (const Operation& operation : function.operations) check_operation(function, operation);
}

}  // namespace ane::mil
