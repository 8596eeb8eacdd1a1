// Windows and samples of images: pools, resizing, affine maps.
#include "mil/op.h"
#include "sampling.h"
#include "window_shape.h"

namespace ane::mil {

namespace {

constexpr DTypes half = dtypes(DType::fp16);
constexpr DTypes integer = dtypes(DType::int32);
constexpr DTypes boolean = dtypes(DType::boolean);
constexpr DTypes text = dtypes(DType::string);
constexpr DTypes factor = dtypes(DType::int32, DType::fp32);

std::vector<TensorType> infer_pool(const OpView& op) {
    const PoolWindow w = pool_window(op);
    Shape shape = op.type("x").shape;
    shape[2] = w.out_height;
    shape[3] = w.out_width;
    return {{DType::fp16, shape}};
}

std::vector<TensorType> infer_nearest(const OpView& op) {
    Shape shape;
    for (const AxisSource& axis : nearest_sources(op)) shape.push_back(axis.extent);
    return {{DType::fp16, shape}};
}

std::vector<TensorType> infer_bilinear(const OpView& op) {
    const BilinearSampling s = bilinear_sampling(op);
    Shape shape = op.type("x").shape;
    shape[shape.size() - 2] = s.height.extent;
    shape.back() = s.width.extent;
    return {{DType::fp16, shape}};
}

std::vector<TensorType> infer_affine(const OpView& op) {
    const AffineMap m = affine_map(op);
    return {{DType::fp16, {m.batch, m.channels, m.out_height, m.out_width}}};
}

}  // namespace

std::span<const OpSpec> window_ops() {
    static const std::vector<OpSpec> table = [] {
        const Parameter x = {"x", Role::tensor, half};
        const std::vector<Parameter> pool = {x,
                                             {"kernel_sizes", Role::constant, integer},
                                             {"strides", Role::constant, integer, false},
                                             {"pad_type", Role::constant, text, false},
                                             {"pad", Role::constant, integer, false}},
                                     target = {x,
                                               {"target_size_height", Role::constant, integer},
                                               {"target_size_width", Role::constant, integer}},
                                     scale = {x,
                                              {"scale_factor_height", Role::constant, factor, false},
                                              {"scale_factor_width", Role::constant, factor, false}};
        const Parameter ceil_mode = {"ceil_mode", Role::constant, boolean, false};
        const auto with = [](std::vector<Parameter> parameters, std::initializer_list<Parameter> more) {
            parameters.insert(parameters.end(), more);
            return parameters;
        };
        return std::vector<OpSpec>{
            {"l2_pool", pool, infer_pool},
            {"max_pool", with(pool, {ceil_mode}), infer_pool},
            {"avg_pool",
             with(pool, {ceil_mode, {"exclude_padding_from_average", Role::constant, boolean, false}}),
             infer_pool},
            {"resize_nearest_neighbor", target, infer_nearest},
            {"upsample_nearest_neighbor", scale, infer_nearest},
            {"resize_bilinear", with(target, {{"sampling_mode", Role::constant, text, false}}),
             infer_bilinear},
            {"upsample_bilinear",
             with(scale, {{"align_corners", Role::constant, boolean, false},
                          {"half_pixel_centers", Role::constant, boolean, false}}),
             infer_bilinear},
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
        };
    }();
    return table;
}

}  // namespace ane::mil
