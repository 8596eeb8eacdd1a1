// Windows and samples of images: pools, resizing, affine maps.
#include "sampling.h"
#include "table.h"
#include "window_shape.h"

namespace ane::mil {

namespace {

constexpr DTypes factor = dtypes(DType::int32, DType::fp32);

std::vector<TensorType> infer_pool(const OpView& op) {
    const Window w = pool_window(op);
    return {{DType::fp16, window_result(op, w, op.type("x").shape[1], &WindowAxis::extent)}};
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
    static const auto& table = *new std::vector<OpSpec>([] {
        const Parameter x = {"x", tensor, half};
        const std::vector<Parameter> pool = {x,
                                             {"kernel_sizes", constant, integer},
                                             {"strides", constant, integer, optional},
                                             {"pad_type", constant, text, optional, "valid"},
                                             {"pad", constant, integer, optional},
                                             {"ceil_mode", constant, boolean, optional, false}},
                                     target = {x,
                                               {"target_size_height", constant, integer},
                                               {"target_size_width", constant, integer}},
                                     scale = {x,
                                              {"scale_factor_height", constant, factor, optional, 1.0f},
                                              {"scale_factor_width", constant, factor, optional, 1.0f}};
        const auto with = [](std::vector<Parameter> parameters, std::initializer_list<Parameter> more) {
            parameters.insert(parameters.end(), more);
            return parameters;
        };
        return std::vector<OpSpec>{
            {"l2_pool", pool, infer_pool},
            {"max_pool", pool, infer_pool},
            {"avg_pool", with(pool, {{"exclude_padding_from_average", constant, boolean, optional, false}}),
             infer_pool},
            {"resize_nearest_neighbor", target, infer_nearest},
            {"upsample_nearest_neighbor", scale, infer_nearest},
            {"resize_bilinear", with(target, {{"sampling_mode", constant, text, optional, "DEFAULT"}}),
             infer_bilinear},
            {"upsample_bilinear",
             with(scale, {{"align_corners", constant, boolean, optional, true},
                          {"half_pixel_centers", constant, boolean, optional}}),
             infer_bilinear},
            {"affine",
             {x,
              {"transform_matrix", tensor, half},
              {"output_height", constant, integer},
              {"output_width", constant, integer},
              {"sampling_mode", constant, text, required, "bilinear"},
              {"padding_mode", constant, text, required, "constant"},
              {"padding_value", constant, half, required, 0.0f},
              {"coordinates_mode", constant, text, required, "normalized_minus_one_to_one"},
              {"align_corners", constant, boolean, required, true}},
             infer_affine},
        };
    }());
    return table;
}

}  // namespace ane::mil
