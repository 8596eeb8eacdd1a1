// Checks an operation's arguments against its entry in the table, whatever the operation.
#include <algorithm>
#include <array>
#include <charconv>

#include "op.h"

namespace ane::mil {

namespace {

constexpr std::array families = {elementwise_ops, product_ops, reduction_ops,
                                 movement_ops,    window_ops,  storage_ops};

std::string names(DTypes set) {
    std::string result;
    for (unsigned d = 0; d <= static_cast<unsigned>(DType::string); ++d) {
        if (!(set >> d & 1)) continue;
        if (!result.empty()) result += " or ";
        result += dtype_name(static_cast<DType>(d));
    }
    return result;
}

void check_argument(const OpView& op, const OpView::Item& item, const Parameter& parameter) {
    const std::string name(parameter.name);
    if (item.is_tuple != (parameter.role == Role::tuple))
        op.fail(
            name,
            "'" + name + (item.is_tuple ? "' takes one value, not a tuple" : "' takes a tuple: (a, b, ...)"));
    for (const Value* value : item.values) {
        // A lookup table has two axes beside those of the weight; nothing computes on it.
        if (value->type.rank() > 5 && parameter.name != "lut")
            op.fail(name, "'" + name + "' is " + to_string(value->type) +
                              "; the engine's tensors have at most 5 axes");
        if (parameter.role == Role::constant && !value->constant)
            op.fail(name, "'" + name + "' must be a constant");
        if (parameter.dtypes >> static_cast<unsigned>(value->type.dtype) & 1) continue;
        std::string what = "'" + name + "' is " + std::string(dtype_name(value->type.dtype)) + ", must be " +
                           names(parameter.dtypes);
        if (value->type.dtype == DType::fp32 && !value->constant)
            what += ": the engine computes in fp16, cast first";
        op.fail(name, what);
    }
}

int opset_number(std::string_view opset) {
    int number = 0;
    if (opset.starts_with("ios")) std::from_chars(opset.data() + 3, opset.data() + opset.size(), number);
    return number;
}

}  // namespace

const OpSpec* find_op(std::string_view name) {
    for (const auto family : families)
        for (const OpSpec& spec : family())
            if (spec.name == name) return &spec;
    return nullptr;
}

std::vector<TensorType> infer(const OpView& op, std::string_view opset) {
    const OpSpec* spec = find_op(op.op());
    if (!spec) {
        const std::string_view reason = refusal(op.op());
        if (!reason.empty()) op.refuse("", std::string(reason));
        op.fail("", "there is no such operation in MIL");
    }
    if (opset_number(opset) < spec->ios)
        op.fail("", "needs opset ios" + std::to_string(spec->ios) + ", this function declares " +
                        std::string(opset));
    for (const OpView::Item& item : op.items()) {
        const auto parameter = std::ranges::find(spec->parameters, item.name, &Parameter::name);
        if (parameter == spec->parameters.end()) {
            if (op.op().starts_with("conv") && item.name == "bias")
                op.refuse("bias", "the engine takes no bias here: add it with a separate add");
            op.fail(item.name, "has no argument '" + std::string(item.name) + "'");
        }
        check_argument(op, item, *parameter);
    }
    for (const Parameter& parameter : spec->parameters)
        if (parameter.required && !op.has(parameter.name))
            op.fail("", "argument '" + std::string(parameter.name) + "' is missing");
    return spec->infer(op);
}

}  // namespace ane::mil
