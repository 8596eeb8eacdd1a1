#include "profile.h"

#include <limits>

#include "../errors.h"

namespace ane::emulator {

namespace {

constexpr int64_t unlimited = std::numeric_limits<int64_t>::max();

constexpr Rounding ieee = {};
// Without NaN. Products overflow past 32,752, so whatever rounds to 32,768 is infinite; reductions round ties
// away from zero and overflow past 65,504 (measured on M1 to M5: ANEForge, bench/results/ROOFLINES.md).
constexpr Rounding engine = {.nan_is_zero = true};
constexpr Rounding engine_product = {.nan_is_zero = true, .overflow = 32760.0f};
constexpr Rounding engine_reduction = {.ties_away = true, .nan_is_zero = true, .overflow = 65504.004f};

constexpr ChipProfile profiles[] = {
    {.name = "h16",
     .has_nan = false,
     .elementwise = engine,
     .product = engine_product,
     .reduction = engine_reduction,
     .ignores_attention_mask = true,
     .max_extent = 65536,
     .max_kernel_width = 15},
    {.name = "none",
     .has_nan = true,
     .elementwise = ieee,
     .product = ieee,
     .reduction = ieee,
     .ignores_attention_mask = false,
     .max_extent = unlimited,
     .max_kernel_width = unlimited},
};

}  // namespace

const ChipProfile& chip_profile(std::string_view name) {
    for (const ChipProfile& profile : profiles)
        if (profile.name == name) return profile;
    throw ArgumentError("there is no chip profile \"" + std::string(name) +
                        "\"; choose h16 (M4), or none for plain fp16 arithmetic without the engine's limits");
}

}  // namespace ane::emulator
