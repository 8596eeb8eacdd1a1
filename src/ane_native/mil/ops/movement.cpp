// Operations that move elements without computing: reshape, transpose, slice, pad, shuffle, sort.
#include <algorithm>
#include <numeric>
#include <utility>

#include "movement_shape.h"
#include "slice_shape.h"
#include "table.h"

namespace ane::mil {

namespace {

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
        if (values[i]->type.dtype != result.dtype)
            op.fail("values", "value " + std::to_string(i) + " is " +
                                  std::string(dtype_name(values[i]->type.dtype)) + ", the first is " +
                                  std::string(dtype_name(result.dtype)));
        if (static_cast<int64_t>(shape.size()) != result.rank())
            op.fail("values", "value " + std::to_string(i) + " is " + to_string(shape) + ", the first is " +
                                  to_string(values.front()->type.shape));
        if (op.boolean("interleave") && shape != values.front()->type.shape)
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

std::vector<TensorType> infer_from_sources(const OpView& op) {
    Shape shape;
    for (const AxisSource& axis : axis_sources(op)) shape.push_back(axis.extent);
    return {{op.type("x").dtype, shape}};
}

// Checks the type of the indices, before the weight file is read.
void check_indices(const OpView& op, int64_t extent) {
    const auto& constant = op.value("indices").constant;
    if (!constant)
        op.refuse("indices",
                  "the Neural Engine gathers by constant indices only; computed ones run on the CPU (751K, "
                  "measured on M4)");
    if (!constant->data.empty()) gather_indices(op, extent);
}

std::vector<TensorType> infer_gather(const OpView& op) {
    const Shape &x = op.type("x").shape, &indices = op.type("indices").shape;
    const int64_t axis = op.axis("axis", op.type("x").rank()), batch = op.integer("batch_dims");
    if (batch < 0 || batch > axis || batch > op.type("indices").rank() ||
        !std::equal(x.begin(), x.begin() + batch, indices.begin()))
        op.fail("batch_dims", "x " + to_string(x) + " and indices " + to_string(indices) + " do not share " +
                                  std::to_string(batch) + " axes in front of axis " + std::to_string(axis));
    Shape shape(x.begin(), x.begin() + axis);
    shape.insert(shape.end(), indices.begin() + batch, indices.end());
    shape.insert(shape.end(), x.begin() + axis + 1, x.end());
    if (static_cast<int64_t>(shape.size()) > max_rank)
        op.fail("indices", "the engine's tensors have at most 5 axes");
    check_indices(op, x[axis]);
    return {{DType::fp16, shape}};
}

std::vector<TensorType> infer_gather_along_axis(const OpView& op) {
    const Shape &x = op.type("x").shape, &indices = op.type("indices").shape;
    const int64_t axis = op.axis("axis", op.type("x").rank());
    Shape expected = x;
    if (indices.size() == x.size()) expected[axis] = indices[axis];
    if (indices != expected)
        op.fail("indices", "indices must be as x, " + to_string(x) + ", but for axis " +
                               std::to_string(axis) + ", are " + to_string(indices));
    check_indices(op, x[axis]);
    return {{DType::fp16, indices}};
}

std::vector<TensorType> infer_block_shuffle(const OpView& op) {
    return {{DType::fp16, block_shuffle(op).result}};
}

std::vector<TensorType> infer_batch_shuffle(const OpView& op) {
    const BatchShuffle b = batch_shuffle(op);
    if (op.op() == "space_to_batch") return {{DType::fp16, b.shuffle.result}};
    Shape shape;
    for (const AxisSource& axis : b.axes) shape.push_back(axis.extent);
    return {{DType::fp16, shape}};
}

std::vector<TensorType> infer_stack(const OpView& op) {
    const auto& values = op.tuple("values");
    if (values.empty()) op.fail("values", "values is empty");
    TensorType result = values.front()->type;
    for (size_t i = 1; i < values.size(); ++i)
        if (values[i]->type.shape != result.shape)
            op.fail("values", "value " + std::to_string(i) + " is " + to_string(values[i]->type.shape) +
                                  ", the first is " + to_string(result.shape));
    if (result.rank() == 5) op.fail("values", "the engine's tensors have at most 5 axes");
    const int64_t axis = op.axis("axis", result.rank() + 1);
    result.shape.insert(result.shape.begin() + axis, static_cast<int64_t>(values.size()));
    return {result};
}

std::vector<TensorType> infer_flatten2d(const OpView& op) {
    const TensorType& x = op.type("x");
    int64_t axis = op.integer("axis");
    if (axis < -x.rank() || axis > x.rank())
        op.fail("axis",
                "axis " + std::to_string(axis) + " is outside a tensor of rank " + std::to_string(x.rank()));
    if (axis < 0) axis += x.rank();
    const TensorType before{DType::fp16, {x.shape.begin(), x.shape.begin() + axis}};
    return {{DType::fp16, {before.elements(), x.elements() / before.elements()}}};
}

std::vector<TensorType> infer_topk(const OpView& op) {
    const TopK t = top_k(op);
    Shape shape = op.type("x").shape;
    shape[t.axis] = t.count;
    if (!op.boolean("return_indices")) return {{DType::fp16, shape}};
    const std::string dtype = op.text("output_indices_dtype");
    if (dtype != "int32" && dtype != "uint16")
        op.fail("output_indices_dtype", "output_indices_dtype must be \"int32\" or \"uint16\"");
    if (dtype == "uint16" && op.type("x").shape[t.axis] > 65536)
        op.fail("output_indices_dtype", "uint16 does not hold the indices of more than 65536 elements");
    return {{DType::fp16, shape}, {*dtype_from_name(dtype), shape}};
}

}  // namespace

std::span<const OpSpec> movement_ops() {
    // The engine moves truth values too, where it is on record (ANEForge, h13 and h14).
    constexpr DTypes data = half | boolean;
    constexpr DTypes index = dtypes(DType::int32, DType::uint16, DType::int16, DType::uint8, DType::int8);
    const Parameter x = {"x", tensor, half}, block = {"block_size", constant, integer};
    const Parameter indices = {"indices", tensor, index}, axis = {"axis", constant, integer, optional, 0},
                    validate = {"validate_indices", constant, boolean, optional, false};
    static const auto& table = *new std::vector<OpSpec>{
        {"reshape", {{"x", tensor, data}, {"shape", constant, integer}}, infer_reshape},
        {"transpose", {{"x", tensor, data}, {"perm", constant, integer}}, infer_transpose},
        {"slice_by_size",
         {{"x", tensor, half}, {"begin", constant, integer}, {"size", constant, integer}},
         infer_slice_by_size},
        {"slice_by_index",
         {{"x", tensor, half},
          {"begin", constant, integer},
          {"end", constant, integer},
          {"stride", constant, integer, optional},
          {"begin_mask", constant, boolean, optional},
          {"end_mask", constant, boolean, optional},
          {"squeeze_mask", constant, boolean, optional}},
         infer_slice_by_index},
        {"concat",
         {{"values", tuple, data},
          {"axis", constant, integer},
          {"interleave", constant, boolean, optional, false}},
         infer_concat},
        {"split",
         {{"x", tensor, half},
          {"axis", constant, integer},
          {"num_splits", constant, integer, optional},
          {"split_sizes", constant, integer, optional}},
         infer_split,
         15,
         std::nullopt},
        {"expand_dims", {{"x", tensor, data}, {"axes", constant, integer}}, infer_expand_dims},
        {"squeeze", {{"x", tensor, data}, {"axes", constant, integer, optional}}, infer_squeeze},
        {"reverse", {x, {"axes", constant, integer, optional}}, infer_from_sources},
        {"tile", {{"x", tensor, data}, {"reps", constant, integer}}, infer_from_sources},
        {"gather",
         {x, indices, axis, {"batch_dims", constant, integer, optional, 0}, validate},
         infer_gather},
        {"gather_along_axis", {x, indices, axis, validate}, infer_gather_along_axis},
        {"pad",
         {x,
          {"pad", constant, integer},
          {"mode", constant, text, optional, "constant"},
          {"constant_val", constant, half, optional, 0.0f}},
         infer_from_sources},
        {"crop",
         {x, {"crop_height", constant, integer}, {"crop_width", constant, integer}},
         infer_from_sources},
        {"depth_to_space", {x, block}, infer_block_shuffle},
        {"space_to_depth", {x, block}, infer_block_shuffle},
        {"pixel_shuffle", {x, {"upscale_factor", constant, integer}}, infer_block_shuffle},
        {"pixel_unshuffle",
         {x, {"downscale_factor", constant, dtypes(DType::int32, DType::uint32)}},
         infer_block_shuffle,
         16},
        {"space_to_batch",
         {x, {"block_shape", constant, integer}, {"paddings", constant, integer}},
         infer_batch_shuffle},
        {"batch_to_space",
         {x, {"block_shape", constant, integer}, {"crops", constant, integer}},
         infer_batch_shuffle},
        {"stack", {{"values", tuple, half}, {"axis", constant, integer}}, infer_stack},
        {"flatten2d", {x, {"axis", constant, integer, optional, 1}}, infer_flatten2d},
        {"topk",
         {x,
          {"k", constant, integer, optional, 1},
          {"axis", constant, integer, optional, -1},
          {"ascending", constant, boolean, optional, false},
          {"sort", constant, boolean, optional, true},
          {"return_indices", constant, boolean, optional, true},
          {"output_indices_dtype", constant, text, optional, "int32"}},
         infer_topk,
         15,
         std::nullopt},
    };
    return table;
}

}  // namespace ane::mil
