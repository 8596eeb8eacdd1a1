// Windows that slide over height and width: max_pool, avg_pool, l2_pool.
#include "../op.h"
#include "windows.h"

namespace ane::mil {

namespace {

std::vector<TensorType> infer_pool(const OpView& op) {
    const PoolWindow w = pool_window(op);
    Shape shape = op.type("x").shape;
    shape[2] = w.out_height;
    shape[3] = w.out_width;
    return {{DType::fp16, shape}};
}

}  // namespace

std::span<const OpSpec> pooling_ops() {
    static const std::vector<OpSpec> table = [] {
        constexpr DTypes integer = dtypes(DType::int32), boolean = dtypes(DType::boolean);
        const std::vector<Parameter> window = {{"x", Role::tensor, dtypes(DType::fp16)},
                                               {"kernel_sizes", Role::constant, integer},
                                               {"strides", Role::constant, integer, false},
                                               {"pad_type", Role::constant, dtypes(DType::string), false},
                                               {"pad", Role::constant, integer, false}};
        std::vector<OpSpec> ops = {{"l2_pool", window, infer_pool}};
        ops.push_back({"max_pool", window, infer_pool});
        ops.back().parameters.push_back({"ceil_mode", Role::constant, boolean, false});
        ops.push_back(ops.back());
        ops.back().name = "avg_pool";
        ops.back().parameters.push_back({"exclude_padding_from_average", Role::constant, boolean, false});
        return ops;
    }();
    return table;
}

}  // namespace ane::mil
