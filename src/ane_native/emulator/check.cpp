#include "check.h"

#include <algorithm>
#include <new>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "lowering.h"
#include "mil/blob.h"
#include "mil/ops/product_shape.h"
#include "mil/ops/window_shape.h"

namespace ane::emulator {

namespace {

// `spatial`: the last two axes are height and width, or a matrix.
void check_extents(const mil::Value& value, bool spatial, const ChipProfile& profile) {
    const Shape& shape = value.type.shape;
    for (size_t i = 0; i < shape.size(); ++i) {
        const bool is_spatial = spatial && i + 2 >= shape.size();
        const int64_t most = is_spatial ? profile.max_spatial_extent : profile.max_extent;
        if (shape[i] > most)
            throw CompileError("CompilationFailure",
                               "'" + value.name + "' is " + to_string(value.type) + "; " +
                                   (is_spatial ? "a height, width or matrix axis of " : "an axis of ") +
                                   std::string(profile.name) + " has at most " + std::to_string(most) +
                                   " elements",
                               value.where);
    }
}

void check_kernel(const mil::OpView& op, const mil::Window& w, const ChipProfile& profile) {
    const int64_t height = w.height().kernel, width = w.width().kernel;
    if (height > profile.max_kernel_height)
        op.refuse("weight", "the kernel is " + std::to_string(height) + " high; the engine takes at most " +
                                std::to_string(profile.max_kernel_height) + " (751K, measured on M4)");
    if (width > profile.max_kernel_width && !(width == height && width <= profile.max_square_kernel))
        op.refuse("weight", "the kernel is " + std::to_string(width) + " wide; the engine takes at most " +
                                std::to_string(profile.max_kernel_width) +
                                " (measured: ANEForge on M1, 751K on M4)");
}

void check_max_pool(const mil::OpView& op, const ChipProfile& profile) {
    const int64_t width = mil::pool_window(op).width().kernel;
    if (width > profile.max_pool_width)
        op.refuse("kernel_sizes",
                  "the window is " + std::to_string(width) + " wide; the engine takes at most " +
                      std::to_string(profile.max_pool_width) + " (751K, measured on M4): pool in two steps");
}

// Measured for matmul. The other products are the same sums, and follow it.
void check_terms(const mil::OpView& op, std::string_view argument, int64_t terms,
                 const ChipProfile& profile) {
    if (terms > profile.max_inner_extent)
        op.refuse(argument, "the sums have " + std::to_string(terms) + " terms; the engine takes at most " +
                                std::to_string(profile.max_inner_extent) +
                                " (751K, measured on M4 for matmul): multiply in parts and add them");
}

void check_attention(const mil::OpView& op, const ChipProfile& profile) {
    const Shape& value = op.type("value").shape;
    check_terms(op, "query", op.type("query").shape.back(), profile);
    check_terms(op, "value", value[value.size() - 2], profile);
}

void check_sine(const mil::OpView& op, const ChipProfile& profile) {
    if (!profile.has_sine)
        op.refuse("", std::string(profile.name) + " has no sin and cos, which came with h15 (M3)");
}

void check_topk(const mil::OpView& op, const ChipProfile& profile) {
    if (!profile.has_topk)
        op.refuse("", std::string(profile.name) + " has no topk, which came with h14 (M2)");
}

struct Limit {
    std::string_view op;
    void (*check)(const mil::OpView&, const ChipProfile&);
};

constexpr Limit limits[] = {
    {"conv", [](const auto& op, const auto& p) { check_kernel(op, mil::conv_window(op), p); }},
    {"conv_transpose",
     [](const auto& op, const auto& p) { check_kernel(op, mil::conv_transpose_window(op), p); }},
    {"cos", check_sine},
    {"einsum",
     [](const auto& op, const auto& p) { check_terms(op, "values", mil::einsum_extents(op).inner, p); }},
    {"linear", [](const auto& op, const auto& p) { check_terms(op, "x", op.type("x").shape.back(), p); }},
    {"matmul", [](const auto& op, const auto& p) { check_terms(op, "x", mil::matmul_extents(op).inner, p); }},
    {"max_pool", check_max_pool},
    {"scaled_dot_product_attention", check_attention},
    {"sin", check_sine},
    {"topk", check_topk},
};

// A weight that several constants name counts once.
void check_constants(const mil::Function& function, const ChipProfile& profile) {
    std::set<std::pair<std::string_view, uint64_t>> places;
    int64_t bytes = 0;
    for (const mil::Value& value : function.values) {
        if (!value.constant) continue;
        const auto& blob = value.constant->blob;
        if (!blob || places.emplace(blob->path, blob->offset).second) bytes += value.type.bytes();
    }
    if (bytes > profile.max_constant_bytes)
        throw CompileError("CompilationFailure",
                           std::to_string(bytes >> 20) +
                               " MiB of constants in one program; the engine's compiler takes at most " +
                               std::to_string(profile.max_constant_bytes >> 20) +
                               " (by its message in coremltools pull request 2593): split it into several "
                               "programs");
}

bool reads_weights(const mil::Function& function) {
    return std::ranges::any_of(function.values, [](const mil::Value& value) {
        return value.constant && value.constant->blob && value.constant->data.empty();
    });
}

void check_lowering(const mil::Function& function, const std::vector<bool>& sound, const ChipProfile& profile,
                    mil::Refusals& refusals) {
    refusals.attempt("program", [&] {
        try {
            Lowering(function, profile, kernels(), ThreadPool::shared()).check(sound, refusals);
        } catch (const std::bad_alloc&) {
            throw CompileError("CompilationFailure", "no memory for the weights");
        }
    });
}

}  // namespace

void check_limits(const mil::Function& function, const std::vector<bool>& sound, const ChipProfile& profile,
                  mil::Refusals& refusals) {
    const size_t count = function.values.size();
    std::vector<bool> is_stored(count);  // a compressed weight: not what it stands for
    std::vector<bool> is_matrix(count);
    for (const mil::Operation& operation : function.operations)
        for (const mil::Argument& argument : operation.arguments)
            for (const mil::ValueId id : argument.values) {
                if (operation.op.starts_with("constexpr_")) is_stored[id] = true;
                if (operation.op == "matmul") is_matrix[id] = true;
            }
    for (size_t id = 0; id < count; ++id) {
        const mil::Value& value = function.values[id];
        if (is_stored[id]) continue;
        refusals.attempt(value.constant ? "const" : "port",
                         [&] { check_extents(value, is_matrix[id] || value.type.rank() > 2, profile); });
    }
    refusals.attempt("program", [&] { check_constants(function, profile); });
    for (size_t i = 0; i < function.operations.size(); ++i) {
        const mil::Operation& operation = function.operations[i];
        const auto limit = std::ranges::find(limits, operation.op, &Limit::op);
        if (sound[i] && limit != std::end(limits))
            refusals.attempt(operation.op, [&] { limit->check(mil::OpView(function, operation), profile); });
    }
}

std::vector<mil::Refusal> list_refusals(std::string_view text, const Weights* weights,
                                        const ChipProfile& profile, bool lenient_weights) {
    mil::Refusals refusals(mil::Refusals::Mode::list_all);
    mil::Module module = mil::parse(text, refusals);
    if (!module.functions.empty()) {
        const mil::Function& function = module.functions.front();
        const std::vector<bool> sound = mil::check(module, refusals);
        check_limits(function, sound, profile, refusals);
        std::vector<std::string> notes;
        if (weights) mil::read_weights(module, *weights, lenient_weights, notes, refusals);
        if (!reads_weights(function)) check_lowering(function, sound, profile, refusals);
    }
    std::vector<mil::Refusal> list = refusals.list();
    std::ranges::stable_sort(list, {}, [](const mil::Refusal& refusal) {
        return std::tuple(refusal.error.where.line, refusal.error.where.column);
    });
    return list;
}

}  // namespace ane::emulator
