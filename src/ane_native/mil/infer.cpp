// Checks an operation's arguments against its entry in the table of operations.
#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "op.h"

namespace ane::mil {

namespace {

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
        // A lookup table has two axes more than its weight; nothing computes on it.
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

std::span<const Family> families() {
    static const Family all[] = {{"elementwise", elementwise_ops()}, {"product", product_ops()},
                                 {"reduction", reduction_ops()},     {"movement", movement_ops()},
                                 {"window", window_ops()},           {"storage", storage_ops()}};
    return all;
}

const OpSpec* find_op(std::string_view name) {
    static const auto by_name = [] {
        std::unordered_map<std::string_view, const OpSpec*> map;
        for (const Family& family : families())
            for (const OpSpec& spec : family.operations) map[spec.name] = &spec;
        return map;
    }();
    const auto found = by_name.find(name);
    return found == by_name.end() ? nullptr : found->second;
}

const Parameter* find_parameter(const OpSpec& spec, std::string_view name) {
    const auto found = std::ranges::find(spec.parameters, name, &Parameter::name);
    return found == spec.parameters.end() ? nullptr : &*found;
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
        const Parameter* parameter = find_parameter(*spec, item.name);
        if (!parameter) op.fail(item.name, "has no argument '" + std::string(item.name) + "'");
        check_argument(op, item, *parameter);
    }
    for (const Parameter& parameter : spec->parameters)
        if (parameter.presence == Presence::required && !op.has(parameter.name))
            op.fail("", "argument '" + std::string(parameter.name) + "' is missing");
    return spec->infer(op);
}

}  // namespace ane::mil
