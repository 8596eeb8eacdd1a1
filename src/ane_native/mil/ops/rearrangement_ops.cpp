// Operations that rearrange elements: repeat, pad, crop, resize, map, shuffle, stack, sort.
#include "../op.h"
#include "rearrangement.h"

namespace ane::mil {

namespace {

constexpr DTypes half = dtypes(DType::fp16);
constexpr DTypes integer = dtypes(DType::int32);
constexpr DTypes boolean = dtypes(DType::boolean);
constexpr DTypes text = dtypes(DType::string);
constexpr DTypes factor = dtypes(DType::int32, DType::fp32);

std::vector<TensorType> infer_from_sources(const OpView& op) {
    Shape shape;
    for (const AxisSource& axis : axis_sources(op)) shape.push_back(axis.extent);
    return {{DType::fp16, shape}};
}

std::vector<TensorType> infer_bilinear(const OpView& op) {
    const BilinearSampling s = bilinear_sampling(op);
    Shape shape = op.type("x").shape;
    shape[shape.size() - 2] = s.height.extent;
    shape.back() = s.width.extent;
    return {{DType::fp16, shape}};
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

std::vector<TensorType> infer_affine(const OpView& op) {
    const AffineMap m = affine_map(op);
    return {{DType::fp16, {m.batch, m.channels, m.out_height, m.out_width}}};
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
    int64_t axis = op.integer("axis", 1);
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
    if (!op.boolean("return_indices", true)) return {{DType::fp16, shape}};
    const std::string dtype = op.text("output_indices_dtype", "int32");
    if (dtype != "int32" && dtype != "uint16")
        op.fail("output_indices_dtype", "output_indices_dtype must be \"int32\" or \"uint16\"");
    if (dtype == "uint16" && op.type("x").shape[t.axis] > 65536)
        op.fail("output_indices_dtype", "uint16 does not hold the indices of more than 65536 elements");
    return {{DType::fp16, shape}, {*dtype_from_name(dtype), shape}};
}

}  // namespace

std::span<const OpSpec> rearrangement_ops() {
    static const std::vector<OpSpec> table = [] {
        const Parameter x = {"x", Role::tensor, half}, block = {"block_size", Role::constant, integer};
        const std::vector<Parameter> scale = {x,
                                              {"scale_factor_height", Role::constant, factor, false},
                                              {"scale_factor_width", Role::constant, factor, false}},
                                     target = {x,
                                               {"target_size_height", Role::constant, integer},
                                               {"target_size_width", Role::constant, integer}};
        std::vector<OpSpec> ops = {
            {"reverse", {x, {"axes", Role::constant, integer, false}}, infer_from_sources},
            {"tile", {x, {"reps", Role::constant, integer}}, infer_from_sources},
            {"pad",
             {x,
              {"pad", Role::constant, integer},
              {"mode", Role::constant, text, false},
              {"constant_val", Role::constant, half, false}},
             infer_from_sources},
            {"crop",
             {x, {"crop_height", Role::constant, integer}, {"crop_width", Role::constant, integer}},
             infer_from_sources},
            {"upsample_nearest_neighbor", scale, infer_from_sources},
            {"resize_nearest_neighbor", target, infer_from_sources},
            {"upsample_bilinear", scale, infer_bilinear},
            {"resize_bilinear", target, infer_bilinear},
            {"depth_to_space", {x, block}, infer_block_shuffle},
            {"space_to_depth", {x, block}, infer_block_shuffle},
            {"pixel_shuffle", {x, {"upscale_factor", Role::constant, integer}}, infer_block_shuffle},
            {"pixel_unshuffle",
             {x, {"downscale_factor", Role::constant, dtypes(DType::int32, DType::uint32)}},
             infer_block_shuffle,
             16},
            {"space_to_batch",
             {x, {"block_shape", Role::constant, integer}, {"paddings", Role::constant, integer}},
             infer_batch_shuffle},
            {"batch_to_space",
             {x, {"block_shape", Role::constant, integer}, {"crops", Role::constant, integer}},
             infer_batch_shuffle},
            {"affine",
             {x,
              {"transform_matrix", Role::tensor, half},
              {"output_height", Role::constant, integer},
              {"output_width", Role::constant, integer},
              {"sampling_mode", Role::constant, text},
              {"padding_mode", Role::constant, text},
              {"padding_value", Role::constant, half},
              {"coordinates_mode", Role::constant, text},
              {"align_corners", Role::constant, boolean}},
             infer_affine},
            {"stack", {{"values", Role::tuple, half}, {"axis", Role::constant, integer}}, infer_stack},
            {"flatten2d", {x, {"axis", Role::constant, integer, false}}, infer_flatten2d},
            {"topk",
             {x,
              {"k", Role::constant, integer, false},
              {"axis", Role::constant, integer, false},
              {"ascending", Role::constant, boolean, false},
              {"sort", Role::constant, boolean, false},
              {"return_indices", Role::constant, boolean, false},
              {"output_indices_dtype", Role::constant, text, false}},
             infer_topk},
        };
        for (OpSpec& spec : ops) {
            if (spec.name == "resize_bilinear")
                spec.parameters.push_back({"sampling_mode", Role::constant, text, false});
            if (spec.name != "upsample_bilinear") continue;
            spec.parameters.push_back({"align_corners", Role::constant, boolean, false});
            spec.parameters.push_back({"half_pixel_centers", Role::constant, boolean, false});
        }
        return ops;
    }();
    return table;
}

}  // namespace ane::mil
