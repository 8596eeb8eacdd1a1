// Checks an operation's arguments against its entry in the table of operations.
#include <algorithm>
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

// A scalar such as alpha of leaky_relu may be fp32 beside fp16 tensors; lowerings read it with
// OpView::number. The constants of a compressed weight give the weight its type.
bool may_be_fp32(const OpView& op, const Parameter& parameter) {
    return parameter.role == Role::constant && !op.op().starts_with("constexpr_") &&
           parameter.dtypes >> static_cast<unsigned>(DType::fp16) & 1;
}

void check_argument(const OpView& op, const OpView::Item& item, const Parameter& parameter) {
    const std::string name(parameter.name);
    // A tuple of one value may be written without its parentheses.
    if (item.is_tuple && parameter.role != Role::tuple)
        op.fail(name, "'" + name + "' takes one value, not a tuple");
    for (const Value* value : item.values) {
        // A lookup table has two axes more than its weight; nothing computes on it.
        if (value->type.rank() > 5 && parameter.name != "lut")
            op.fail(name, "'" + name + "' is " + to_string(value->type) +
                              "; the engine's tensors have at most 5 axes");
        if (parameter.role == Role::constant && !value->constant)
            op.fail(name, "'" + name + "' must be a constant");
        if (parameter.dtypes >> static_cast<unsigned>(value->type.dtype) & 1) continue;
        if (may_be_fp32(op, parameter) && value->type == TensorType{DType::fp32, {}}) continue;
        std::string what = "'" + name + "' is " + std::string(dtype_name(value->type.dtype)) + ", must be " +
                           names(parameter.dtypes);
        if (value->type.dtype == DType::fp32 && !value->constant)
            what += ": the engine computes in fp16, cast first";
        op.fail(name, what);
    }
}

}  // namespace

std::span<const Family> families() {
    static const Family all[] = {{"elementwise", elementwise_ops()}, {"product", product_ops()},
                                 {"reduction", reduction_ops()},     {"movement", movement_ops()},
                                 {"window", window_ops()},           {"storage", storage_ops()}};
    return all;
}

const OpSpec* find_op(std::string_view name) {
    static const auto& by_name = *new auto([] {
        std::unordered_map<std::string_view, const OpSpec*> map;
        for (const Family& family : families())
            for (const OpSpec& spec : family.operations) map[spec.name] = &spec;
        return map;
    }());
    const auto found = by_name.find(name);
    return found == by_name.end() ? nullptr : found->second;
}

const Parameter* find_parameter(const OpSpec& spec, std::string_view name) {
    const auto found = std::ranges::find(spec.parameters, name, &Parameter::name);
    return found == spec.parameters.end() ? nullptr : &*found;
}

void check_call(const OpView& op) {
    const OpSpec* spec = op.spec();
    if (!spec) {
        const std::string_view reason = refusal(op.op());
        if (!reason.empty()) op.refuse("", std::string(reason));
        op.fail("", "there is no such operation in MIL");
    }
    op.need_opset(spec->ios);
    for (const OpView::Item& item : op.items()) {
        if (!find_parameter(*spec, item.name))
            op.fail(item.name, "has no argument '" + std::string(item.name) + "'");
    }
    for (const Parameter& parameter : spec->parameters)
        if (parameter.presence == Presence::required && !op.has(parameter.name))
            op.fail("", "argument '" + std::string(parameter.name) + "' is missing");
}

std::vector<TensorType> infer(const OpView& op) {
    check_call(op);
    for (const OpView::Item& item : op.items())
        check_argument(op, item, *find_parameter(*op.spec(), item.name));
    return op.spec()->infer(op);
}

}  // namespace ane::mil
