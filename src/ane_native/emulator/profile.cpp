#include "profile.h"

#include <limits>

#include "errors.h"

namespace ane::emulator {

namespace {

constexpr int64_t unlimited = std::numeric_limits<int64_t>::max();

constexpr cpu::Rounding engine = {.numbers = cpu::Numbers::engine};
// Reductions overflow past 65,504 (measured on M1 to M5: ANEForge, bench/results/ROOFLINES.md).
constexpr cpu::Rounding engine_reduction = {.numbers = cpu::Numbers::engine, .overflow = 65504.004f};

constexpr float infinite = std::numeric_limits<float>::infinity();

// The newest generation that was measured. The older ones are described by what they lack. Where a fact was
// measured on some generations only, those in between follow the nearest one (README.md lists the facts).
constexpr ChipProfile h17 = {.name = "h17",
                             .numbers = cpu::Numbers::engine,
                             .product = engine,
                             .reduction = engine_reduction,
                             .longest_exact_sum = 384,
                             .ignores_attention_mask = true,
                             .slice_limit = infinite,
                             .transforms_kernels_of_3 = true,
                             .scales_sums = true,
                             .multiplies_integers = true,
                             .casts_fp32 = true,
                             .has_sine = true,
                             .has_topk = true,
                             .max_extent = 65536,
                             .max_spatial_extent = 65536,
                             .max_inner_extent = 32768,
                             .max_kernel_width = 15,
                             .max_kernel_height = 31,
                             .max_square_kernel = 16,
                             .max_pool_width = 8,
                             .max_constant_bytes = int64_t{1} << 31};

constexpr ChipProfile h16 = [] {
    ChipProfile p = h17;
    p.name = "h16";
    p.transforms_kernels_of_3 = false;
    p.scales_sums = false;
    return p;
}();

constexpr ChipProfile h15 = [] {
    ChipProfile p = h16;
    p.name = "h15";
    p.multiplies_integers = false;
    p.max_spatial_extent = 16384;
    return p;
}();

constexpr ChipProfile h14 = [] {
    ChipProfile p = h15;
    p.name = "h14";
    p.longest_exact_sum = 192;
    p.slice_limit = 4094.0f;
    p.casts_fp32 = false;
    p.has_sine = false;
    p.max_kernel_width = 13;
    p.max_square_kernel = 13;
    return p;
}();

constexpr ChipProfile h13 = [] {
    ChipProfile p = h14;
    p.name = "h13";
    p.has_topk = false;
    return p;
}();

// Nothing is known yet that sets these apart from h17, but that h18g and h19 have two engines and one design
// (the compiler's tables for them are equal byte for byte: 751K/...-Study-M6, notes/ane_naming.md).
constexpr ChipProfile h18 = [] {
    ChipProfile p = h17;
    p.name = "h18";
    return p;
}();

constexpr ChipProfile h18g = [] {
    ChipProfile p = h18;
    p.name = "h18g";
    return p;
}();

constexpr ChipProfile h19 = [] {
    ChipProfile p = h18g;
    p.name = "h19";
    return p;
}();

constexpr ChipProfile none = {.name = "none",
                              .numbers = cpu::Numbers::ieee,
                              .product = {},
                              .reduction = {},
                              .longest_exact_sum = unlimited,
                              .ignores_attention_mask = false,
                              .slice_limit = infinite,
                              .transforms_kernels_of_3 = false,
                              .scales_sums = false,
                              .multiplies_integers = true,
                              .casts_fp32 = true,
                              .has_sine = true,
                              .has_topk = true,
                              .max_extent = unlimited,
                              .max_spatial_extent = unlimited,
                              .max_inner_extent = unlimited,
                              .max_kernel_width = unlimited,
                              .max_kernel_height = unlimited,
                              .max_square_kernel = unlimited,
                              .max_pool_width = unlimited,
                              .max_constant_bytes = unlimited};

constexpr const ChipProfile* profiles[] = {&h13, &h14, &h15, &h16, &h17, &h18, &h18g, &h19, &none};

}  // namespace

const ChipProfile& chip_profile(std::string_view name) {
    for (const ChipProfile* profile : profiles)
        if (profile->name == name) return *profile;
    throw ArgumentError(
        "there is no chip profile \"" + std::string(name) +
        "\"; choose h13 (M1), h14 (M2), h15 (M3), h16 (M4), h17 (M5), h18 (A19 Pro), h18g (M6) or h19 (A20 "
        "Pro), or none for plain fp16 arithmetic without the engine's limits");
}

}  // namespace ane::emulator
