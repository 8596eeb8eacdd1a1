#include "check.h"

#include <algorithm>
#include <new>
#include <string>
#include <tuple>

#include "lowering.h"
#include "mil/blob.h"
#include "mil/op.h"

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

void check_extents(const mil::Function& function, const ChipProfile& profile, mil::Refusals& refusals) {
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
}

std::vector<mil::Refusal> list_refusals(std::string_view text, const Weights* weights,
                                        const ChipProfile& profile, bool lenient_weights) {
    mil::Refusals refusals(mil::Refusals::Mode::list_all);
    mil::Module module = mil::parse(text, refusals);
    if (!module.functions.empty()) {
        const mil::Function& function = module.functions.front();
        const std::vector<bool> sound = mil::check(module, refusals);
        check_extents(function, profile, refusals);
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
