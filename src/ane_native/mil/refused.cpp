// Operations of MIL that are refused, each with the fact about the Neural Engine that is the reason.
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "op.h"

namespace ane::mil {

namespace {

constexpr std::string_view not_on_engine =
    "the Neural Engine's compiler does not accept this operation (751K, measured on M4)";
constexpr std::string_view not_for_aneforge =
    "the Neural Engine's compiler does not accept this operation (ANEForge, measured on M5 Pro)";
constexpr std::string_view control_flow = "the Neural Engine runs no control flow or lists";
constexpr std::string_view no_state =
    "this route to the Neural Engine has no state: make it an input and an output of the program";
constexpr std::string_view no_random = "the Neural Engine's compiler accepts no random operations in MIL";
constexpr std::string_view not_measured =
    "no measurement tells whether the Neural Engine runs this operation";
constexpr std::string_view not_in_emulator =
    "the Neural Engine runs this operation (751K, measured on M4), but its arithmetic is not known here";

constexpr std::pair<std::string_view, std::string_view> refused[] = {
    {"acos", not_on_engine},
    {"acosh", not_for_aneforge},
    {"argsort", not_on_engine},
    {"asin", not_on_engine},
    {"asinh", not_for_aneforge},
    {"atanh", not_on_engine},
    {"band_part", not_on_engine},
    {"cosh", not_on_engine},
    {"crop_resize", not_on_engine},
    {"cumsum",
     "the Neural Engine's compiler does not accept this operation (751K, measured on M4): use matmul with a "
     "triangular constant"},
    {"gather_nd", not_for_aneforge},
    {"gru", not_on_engine},
    {"identity", "a no-op breaks programs on the Neural Engine: use its operand directly"},
    {"lstm", not_on_engine},
    {"mod", not_on_engine},
    {"non_zero", not_on_engine},
    {"one_hot", not_on_engine},
    {"range_1d", not_on_engine},
    {"reduce_argmax", not_on_engine},
    {"reduce_argmin", not_for_aneforge},
    {"reduce_prod", not_on_engine},
    {"reverse_sequence", not_for_aneforge},
    {"rnn", not_on_engine},
    {"scatter", not_on_engine},
    {"scatter_along_axis", not_on_engine},
    {"scatter_nd", not_for_aneforge},
    {"shape", "shapes are static on the Neural Engine: write them as constants"},
    {"sinh", not_on_engine},
    {"sliding_windows", not_on_engine},
    {"tan", not_on_engine},
    {"where", "the Neural Engine's compiler does not accept where: use select"},
    {"cond", control_flow},
    {"coreml_update_state", no_state},
    {"list_gather", control_flow},
    {"list_length", control_flow},
    {"list_read", control_flow},
    {"list_scatter", control_flow},
    {"list_write", control_flow},
    {"make_list", control_flow},
    {"read_state", no_state},
    {"while_loop", control_flow},
    {"write_state", no_state},
    {"random_bernoulli", no_random},
    {"random_categorical", no_random},
    {"random_normal", no_random},
    {"random_uniform", no_random},
    {"classify", not_measured},
    {"constexpr_lut_to_sparse", not_measured},
    {"constexpr_sparse_blockwise_shift_scale", not_measured},
    {"conv_quantized", not_measured},
    {"fill", not_measured},
    {"fill_like", not_measured},
    {"non_maximum_suppression", not_measured},
    {"resample", not_in_emulator},
    {"reshape_like", not_measured},
    {"resize",
     "the Neural Engine runs this operation (751K, measured on M4): write it as resize_bilinear or "
     "resize_nearest_neighbor"},
    {"slice_update", not_measured},
    {"softplus_parametric", not_measured},
};

}  // namespace

std::string_view refusal(std::string_view name) {
    for (const auto& [op, reason] : refused)
        if (op == name) return reason;
    return {};
}

}  // namespace ane::mil
