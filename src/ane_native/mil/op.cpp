#include "op.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <numeric>

namespace ane::mil {

namespace {

template <typename T>
std::vector<T> elements(const Constant& constant) {
    std::vector<T> result(constant.data.size() / sizeof(T));
    if (!result.empty()) std::memcpy(result.data(), constant.data.data(), result.size() * sizeof(T));
    return result;
}

template <typename Out, typename T>
std::vector<Out> convert(const Constant& constant) {
    const auto from = elements<T>(constant);
    return {from.begin(), from.end()};
}

}  // namespace

OpView::OpView(const Function& function, const Operation& operation)
    : op_(operation.op), opset_(function.opset), spec_(find_op(operation.op)), where_(operation.where) {
    for (const Argument& argument : operation.arguments) {
        Item item{argument.name, {}, argument.is_tuple, argument.where};
        for (const ValueId id : argument.values) item.values.push_back(&function.values[id]);
        items_.push_back(std::move(item));
    }
}

const OpView::Item* OpView::find(std::string_view argument) const {
    const auto item = std::ranges::find(items_, argument, &Item::name);
    return item == items_.end() ? nullptr : &*item;
}

template <typename T>
const T* OpView::otherwise(std::string_view argument) const {
    const Parameter* parameter = spec_ && !has(argument) ? find_parameter(*spec_, argument) : nullptr;
    return parameter ? std::get_if<T>(&parameter->otherwise) : nullptr;
}

Location OpView::place(std::string_view argument) const {
    const Item* item = find(argument);
    return item ? item->where : where_;
}

void OpView::fail(std::string_view argument, const std::string& what) const {
    throw CompileError("InvalidMILProgram", std::string(op_) + ": " + what, place(argument));
}

void OpView::refuse(std::string_view argument, const std::string& what) const {
    throw CompileError("CompilationFailure", std::string(op_) + ": " + what, place(argument));
}

void OpView::need_opset(int ios) const {
    int declared = 0;
    if (opset_.starts_with("ios"))
        std::from_chars(opset_.data() + 3, opset_.data() + opset_.size(), declared);
    if (declared < ios)
        fail("", "needs opset ios" + std::to_string(ios) + ", this function declares " + std::string(opset_));
}

const Value& OpView::value(std::string_view argument) const {
    const Item* item = find(argument);
    if (!item) fail("", "argument '" + std::string(argument) + "' is missing");
    if (item->is_tuple || item->values.size() != 1)
        fail(argument, "'" + std::string(argument) + "' takes one value, not a tuple");
    return *item->values.front();
}

const std::vector<const Value*>& OpView::tuple(std::string_view argument) const {
    const Item* item = find(argument);
    if (!item) fail("", "argument '" + std::string(argument) + "' is missing");
    return item->values;
}

std::vector<int64_t> OpView::integers_of_rank(std::string_view argument, int64_t rank) const {
    const Value& v = value(argument);
    const std::string name = "'" + std::string(argument) + "'";
    if (!v.constant) fail(argument, name + " must be a constant");
    if (v.constant->blob) fail(argument, name + " must be a literal, not a weight file");
    if (v.type.dtype != DType::int32 && v.type.dtype != DType::uint32)
        fail(argument, name + " must be int32, not " + std::string(dtype_name(v.type.dtype)));
    if (v.type.rank() != rank)
        fail(argument, name + " is " + to_string(v.type) + ", must be " +
                           (rank == 0 ? "one integer" : "a list of integers: tensor<int32, [n]>"));
    return v.type.dtype == DType::int32 ? convert<int64_t, int32_t>(*v.constant)
                                        : convert<int64_t, uint32_t>(*v.constant);
}

std::vector<int64_t> OpView::integers(std::string_view argument) const {
    const auto* list = otherwise<std::vector<int64_t>>(argument);
    return list ? *list : integers_of_rank(argument, 1);
}

std::vector<int64_t> OpView::pairs(std::string_view argument, int64_t count) const {
    const Shape expected = {count, 2};
    if (type(argument).shape != expected)
        fail(argument, "'" + std::string(argument) + "' must be " +
                           to_string(TensorType{DType::int32, expected}) + ", is " +
                           to_string(type(argument)));
    return integers_of_rank(argument, 2);
}

int64_t OpView::integer(std::string_view argument) const {
    const auto* integer = otherwise<int64_t>(argument);
    return integer ? *integer : integers_of_rank(argument, 0).front();
}

bool OpView::boolean(std::string_view argument) const {
    if (const auto* truth = otherwise<bool>(argument)) return *truth;
    if (type(argument).rank() != 0) fail(argument, "'" + std::string(argument) + "' must be one bool");
    return booleans(argument, 1).front();
}

std::vector<bool> OpView::booleans(std::string_view argument, size_t count) const {
    if (!has(argument)) return std::vector<bool>(count, false);
    const Value& v = value(argument);
    if (!v.constant || v.constant->blob || v.type.dtype != DType::boolean)
        fail(argument, "'" + std::string(argument) + "' must be a bool literal");
    const auto bytes = elements<uint8_t>(*v.constant);
    if (bytes.size() != count)
        fail(argument, "'" + std::string(argument) + "' has " + std::to_string(bytes.size()) +
                           " elements, needs " + std::to_string(count));
    return {bytes.begin(), bytes.end()};
}

std::string OpView::text(std::string_view argument) const {
    if (const auto* word = otherwise<std::string_view>(argument)) return std::string(*word);
    const Value& v = value(argument);
    if (!v.constant || v.type.dtype != DType::string || v.type.rank() > 0)
        fail(argument, "'" + std::string(argument) + "' must be a string constant");
    return v.constant->text;
}

std::vector<float> OpView::numbers(std::string_view argument) const {
    const Value& v = value(argument);
    if (!v.constant) fail(argument, "'" + std::string(argument) + "' must be a constant");
    switch (v.type.dtype) {
        case DType::fp16: {
            std::vector<float> result;
            for (const uint16_t bits : elements<uint16_t>(*v.constant)) result.push_back(half_to_float(bits));
            return result;
        }
        case DType::fp32: return elements<float>(*v.constant);
        case DType::int8: return convert<float, int8_t>(*v.constant);
        case DType::uint8: return convert<float, uint8_t>(*v.constant);
        case DType::int32: return convert<float, int32_t>(*v.constant);
        default: fail(argument, "'" + std::string(argument) + "' must be a number");
    }
}

std::vector<int64_t> OpView::whole_numbers(std::string_view argument) const {
    const Value& v = value(argument);
    if (!v.constant) fail(argument, "'" + std::string(argument) + "' must be a constant");
    switch (v.type.dtype) {
        case DType::int8: return convert<int64_t, int8_t>(*v.constant);
        case DType::uint8: return convert<int64_t, uint8_t>(*v.constant);
        case DType::int16: return convert<int64_t, int16_t>(*v.constant);
        case DType::uint16: return convert<int64_t, uint16_t>(*v.constant);
        case DType::int32: return convert<int64_t, int32_t>(*v.constant);
        default: fail(argument, "'" + std::string(argument) + "' must be integers");
    }
}

float OpView::number(std::string_view argument) const {
    if (const auto* number = otherwise<float>(argument)) return *number;
    const auto all = numbers(argument);
    if (all.size() != 1) fail(argument, "'" + std::string(argument) + "' must be one number");
    return all.front();
}

int64_t OpView::axis(std::string_view argument, int64_t rank) const {
    const int64_t axis = integer(argument);
    if (axis < -rank || axis >= rank)
        fail(argument,
             "axis " + std::to_string(axis) + " is outside a tensor of rank " + std::to_string(rank));
    return axis < 0 ? axis + rank : axis;
}

std::vector<int64_t> OpView::axes(std::string_view argument, int64_t rank) const {
    std::vector<int64_t> result(static_cast<size_t>(rank));
    std::iota(result.begin(), result.end(), 0);
    if (has(argument)) result = integers(argument);
    for (int64_t& axis : result) {
        if (axis < -rank || axis >= rank)
            fail(argument,
                 "axis " + std::to_string(axis) + " is outside a tensor of rank " + std::to_string(rank));
        if (axis < 0) axis += rank;
    }
    std::ranges::sort(result);
    if (std::ranges::adjacent_find(result) != result.end()) fail(argument, "an axis is named twice");
    return result;
}

}  // namespace ane::mil
