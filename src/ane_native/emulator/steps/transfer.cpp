#include "transfer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../lowering.h"

namespace ane::emulator {

namespace {

void nan_to_infinity(float* x, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
        if (std::isnan(x[i])) x[i] = std::numeric_limits<float>::infinity();
}

}  // namespace

void nan_to_infinity(half* x, int64_t count) {
    constexpr half infinity = 0x7c00;
    for (int64_t i = 0; i < count; ++i)
        if ((x[i] & 0x7fff) > infinity) x[i] = infinity;
}

void flush_subnormals(const half* x, half* y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = x[i] & 0x7c00 ? x[i] : x[i] & 0x8000;
}

void load(const Layout& layout, const std::byte* surface, std::byte* packed, bool has_nan) {
    const auto bytes = static_cast<size_t>(layout.row_bytes());
    for (int64_t row = 0; row < layout.rows(); ++row)
        std::memcpy(packed + row * layout.row_bytes(), surface + row * layout.row_pitch(), bytes);
    if (has_nan) return;
    const int64_t count = layout.rows() * layout.width();
    if (layout.dtype == DType::fp16) nan_to_infinity(reinterpret_cast<half*>(packed), count);
    if (layout.dtype == DType::fp32) nan_to_infinity(reinterpret_cast<float*>(packed), count);
}

void store(const Layout& layout, const std::byte* packed, std::byte* surface) {
    const auto bytes = static_cast<size_t>(layout.row_bytes());
    for (int64_t row = 0; row < layout.rows(); ++row)
        std::memcpy(surface + row * layout.row_pitch(), packed + row * layout.row_bytes(), bytes);
}

void halves_to_floats(const Execution& e, const half* x, float* y, int64_t count) {
    e.threads.parallel_for(ceil_divide(count, tile), [&](int64_t task, int) {
        const int64_t begin = task * tile, n = std::min(tile, count - begin);
        e.kernels.to_float(x + begin, y + begin, static_cast<size_t>(n));
    });
}

}  // namespace ane::emulator
