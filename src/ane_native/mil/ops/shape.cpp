// Operations that move elements without computing: reshape, transpose, slices, concat, split, axes, cast.
#include <algorithm>
#include <numeric>
#include <utility>

#include "../op.h"
#include "windows.h"

namespace ane::mil {

namespace {

constexpr DTypes half = dtypes(DType::fp16);
constexpr DTypes integer = dtypes(DType::int32);
constexpr DTypes boolean = dtypes(DType::boolean);
constexpr int64_t max_rank = 5;

std::vector<TensorType> infer_reshape(const OpView& op) {
    const TensorType& x = op.type("x");
    Shape shape = op.integers("shape");
    if (static_cast<int64_t>(shape.size()) > max_rank)
        op.fail("shape", "the engine's tensors have at most 5 axes");
    const auto fail = [&] {
        op.fail("shape", "cannot reshape " + to_string(x.shape) + " to " + to_string(op.integers("shape")));
    };
    int64_t known = 1, unknown = -1;
    for (size_t i = 0; i < shape.size(); ++i) {
        if (shape[i] == -1 && unknown < 0) {
            unknown = static_cast<int64_t>(i);
        } else if (shape[i] < 1 || shape[i] > x.elements() / known) {
            fail();
        } else {
            known *= shape[i];
        }
    }
    if (unknown >= 0) {
        shape[unknown] = x.elements() / known;
        known *= shape[unknown];
    }
    if (known != x.elements()) fail();
    return {{x.dtype, shape}};
}

std::vector<TensorType> infer_transpose(const OpView& op) {
    const TensorType& x = op.type("x");
    auto perm = op.integers("perm");
    for (int64_t& axis : perm) axis += axis < 0 ? x.rank() : 0;
    std::vector<int64_t> every_axis(x.shape.size());
    std::iota(every_axis.begin(), every_axis.end(), 0);
    if (!std::ranges::is_permutation(perm, every_axis))
        op.fail("perm", "perm must name each axis of " + to_string(x.shape) + " once");
    Shape shape;
    for (const int64_t axis : perm) shape.push_back(x.shape[axis]);
    return {{x.dtype, shape}};
}

std::vector<TensorType> infer_slice_by_size(const OpView& op) {
    return {{op.type("x").dtype, slice_by_size_window(op).shape}};
}

std::vector<TensorType> infer_slice_by_index(const OpView& op) {
    return {{op.type("x").dtype, slice_by_index_window(op).shape}};
}

std::vector<TensorType> infer_concat(const OpView& op) {
    const auto& values = op.tuple("values");
    if (values.empty()) op.fail("values", "values is empty");
    TensorType result = values.front()->type;
    const int64_t axis = op.axis("axis", result.rank());
    for (size_t i = 1; i < values.size(); ++i) {
        Shape shape = values[i]->type.shape;
        if (static_cast<int64_t>(shape.size()) != result.rank())
            op.fail("values", "value " + std::to_string(i) + " is " + to_string(shape) + ", the first is " +
                                  to_string(values.front()->type.shape));
        if (op.boolean("interleave", false) && shape != values.front()->type.shape)
            op.fail("values", "interleave needs values of equal shape");
        const int64_t extent = std::exchange(shape[axis], result.shape[axis]);
        if (shape != result.shape)
            op.fail("values", "value " + std::to_string(i) + " is " + to_string(values[i]->type.shape) +
                                  ", the first is " + to_string(values.front()->type.shape) +
                                  "; they may differ on axis " + std::to_string(axis) + " only");
        result.shape[axis] += extent;
    }
    return {result};
}

std::vector<TensorType> infer_split(const OpView& op) {
    const auto split = split_extents(op);
    std::vector<TensorType> results(split.extents.size(), op.type("x"));
    for (size_t i = 0; i < results.size(); ++i) results[i].shape[split.axis] = split.extents[i];
    return results;
}

std::vector<TensorType> infer_expand_dims(const OpView& op) {
    const TensorType& x = op.type("x");
    const int64_t rank = x.rank() + static_cast<int64_t>(op.integers("axes").size());
    if (rank > max_rank) op.fail("axes", "the engine's tensors have at most 5 axes");
    Shape shape = x.shape;
    for (const int64_t axis : op.axes("axes", rank)) shape.insert(shape.begin() + axis, 1);
    return {{x.dtype, shape}};
}

std::vector<TensorType> infer_squeeze(const OpView& op) {
    const TensorType& x = op.type("x");
    std::vector<int64_t> axes;
    if (op.has("axes")) {
        axes = op.axes("axes", x.rank());
    } else {
        for (int64_t i = 0; i < x.rank(); ++i)
            if (x.shape[i] == 1) axes.push_back(i);
    }
    Shape shape;
    for (int64_t i = 0; i < x.rank(); ++i) {
        if (!std::ranges::binary_search(axes, i)) {
            shape.push_back(x.shape[i]);
        } else if (x.shape[i] != 1) {
            op.fail("axes", "axis " + std::to_string(i) + " of " + to_string(x.shape) + " is not 1");
        }
    }
    return {{x.dtype, shape}};
}

std::vector<TensorType> infer_cast(const OpView& op) {
    const std::string name = op.text("dtype");
    const auto dtype = dtype_from_name(name);
    if (!dtype || *dtype == DType::string) op.fail("dtype", "there is no dtype \"" + name + "\"");
    constexpr DTypes reachable = dtypes(DType::fp16, DType::fp32, DType::int8, DType::uint8, DType::int16,
                                        DType::uint16, DType::boolean);
    if (!(reachable >> static_cast<unsigned>(*dtype) & 1))
        op.refuse("dtype", "the engine does not cast to " + name);
    const DType from = op.type("x").dtype;
    if (from != DType::fp16 && *dtype != DType::fp16)
        op.refuse("dtype", "the engine does not cast " + std::string(dtype_name(from)) + " to " + name +
                               ": go through fp16");
    return {{*dtype, op.type("x").shape}};
}

}  // namespace

std::span<const OpSpec> shape_ops() {
    static const std::vector<OpSpec> table = {
        {"reshape", {{"x", Role::tensor, half}, {"shape", Role::constant, integer}}, infer_reshape},
        {"transpose", {{"x", Role::tensor, half}, {"perm", Role::constant, integer}}, infer_transpose},
        {"slice_by_size",
         {{"x", Role::tensor, half}, {"begin", Role::constant, integer}, {"size", Role::constant, integer}},
         infer_slice_by_size},
        {"slice_by_index",
         {{"x", Role::tensor, half},
          {"begin", Role::constant, integer},
          {"end", Role::constant, integer},
          {"stride", Role::constant, integer, false},
          {"begin_mask", Role::constant, boolean, false},
          {"end_mask", Role::constant, boolean, false},
          {"squeeze_mask", Role::constant, boolean, false}},
         infer_slice_by_index},
        {"concat",
         {{"values", Role::tuple, half},
          {"axis", Role::constant, integer},
          {"interleave", Role::constant, boolean, false}},
         infer_concat},
        {"split",
         {{"x", Role::tensor, half},
          {"axis", Role::constant, integer},
          {"num_splits", Role::constant, integer, false},
          {"split_sizes", Role::constant, integer, false}},
         infer_split},
        {"expand_dims", {{"x", Role::tensor, half}, {"axes", Role::constant, integer}}, infer_expand_dims},
        {"squeeze", {{"x", Role::tensor, half}, {"axes", Role::constant, integer, false}}, infer_squeeze},
        {"cast",
         {{"x", Role::tensor,
           dtypes(DType::fp16, DType::fp32, DType::int8, DType::uint8, DType::int16, DType::uint16,
                  DType::boolean)},
          {"dtype", Role::constant, dtypes(DType::string)}},
         infer_cast},
    };
    return table;
}

}  // namespace ane::mil
