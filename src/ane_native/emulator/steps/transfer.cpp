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

void nan_to_infinity(half* x, int64_t count) {
    constexpr int16_t infinity = 0x7c00;
    for (int64_t i = 0; i < count; ++i)
        x[i] = static_cast<int16_t>(x[i] & 0x7fff) > infinity ? infinity : x[i];
}

// Calls work(row, count) for stretches of rows, on all threads.
template <typename Work>
void for_each_stretch(const Execution& e, const Layout& layout, const Work& work) {
    const int64_t count = std::max<int64_t>(1, 4 * tile / layout.width());
    e.threads.parallel_for(ceil_divide(layout.rows(), count), [&](int64_t task, int) {
        work(task * count, std::min(count, layout.rows() - task * count));
    });
}

void copy_rows(const std::byte* from, int64_t from_pitch, std::byte* to, int64_t to_pitch, int64_t bytes,
               int64_t rows) {
    if (from_pitch == to_pitch && bytes == to_pitch) {
        bytes *= rows;
        rows = 1;
    }
    for (int64_t row = 0; row < rows; ++row, from += from_pitch, to += to_pitch)
        std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace

void load(const Execution& e, const Layout& layout, const std::byte* surface, std::byte* packed,
          bool has_nan) {
    const int64_t bytes = layout.row_bytes(), pitch = layout.row_pitch();
    for_each_stretch(e, layout, [&](int64_t row, int64_t rows) {
        std::byte* to = packed + row * bytes;
        copy_rows(surface + row * pitch, pitch, to, bytes, bytes, rows);
        if (has_nan) return;
        const int64_t count = rows * layout.width();
        if (layout.dtype == DType::fp16) nan_to_infinity(reinterpret_cast<half*>(to), count);
        if (layout.dtype == DType::fp32) nan_to_infinity(reinterpret_cast<float*>(to), count);
    });
}

void store(const Execution& e, const Layout& layout, const std::byte* packed, std::byte* surface) {
    const int64_t bytes = layout.row_bytes(), pitch = layout.row_pitch();
    for_each_stretch(e, layout, [&](int64_t row, int64_t rows) {
        copy_rows(packed + row * bytes, bytes, surface + row * pitch, pitch, bytes, rows);
    });
}

void load_constant(ThreadPool& threads, DType dtype, std::span<const std::byte> from, std::byte* to,
                   bool has_nan) {
    constexpr size_t piece = 1 << 16;  // stays in a core's cache between the copy and the search for NaN
    const auto pieces = static_cast<int64_t>((from.size() + piece - 1) / piece);
    threads.parallel_for(pieces, [&](int64_t task, int) {
        const size_t begin = static_cast<size_t>(task) * piece, bytes = std::min(piece, from.size() - begin);
        std::memcpy(to + begin, from.data() + begin, bytes);
        if (dtype == DType::fp16 && !has_nan)
            nan_to_infinity(reinterpret_cast<half*>(to + begin), static_cast<int64_t>(bytes / sizeof(half)));
    });
}

void flush_subnormals(const Execution& e, const half* x, half* y, int64_t count) {
    e.threads.parallel_for(ceil_divide(count, tile), [&](int64_t task, int) {
        const int64_t begin = task * tile, end = std::min(count, begin + tile);
        for (int64_t i = begin; i < end; ++i) y[i] = x[i] & 0x7c00 ? x[i] : x[i] & 0x8000;
    });
}

void halves_to_floats(const Execution& e, const half* x, float* y, int64_t count) {
    e.threads.parallel_for(ceil_divide(count, tile), [&](int64_t task, int) {
        const int64_t begin = task * tile, n = std::min(tile, count - begin);
        e.kernels.to_float(x + begin, y + begin, static_cast<size_t>(n));
    });
}

}  // namespace ane::emulator
