// Maxima, averages and norms over windows.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../../mil/ops/windows.h"
#include "../lowering.h"

namespace ane::emulator {

namespace {

enum class Pool : uint8_t { maximum, average, norm };

// The elements of a window that lie inside [0, extent), and how many it has with its padding.
struct Span {
    int64_t first, last, padded;
};

Span window_span(int64_t position, int64_t stride, int64_t kernel, int64_t pad, int64_t pad_after,
                 int64_t extent) {
    const int64_t start = position * stride - pad, end = start + kernel;
    return {std::max<int64_t>(0, start), std::min(extent, end), std::min(extent + pad_after, end) - start};
}

template <Pool pool>
float combine(float result, float x) {
    if (pool == Pool::maximum) return x > result || std::isnan(x) ? x : result;
    return result + (pool == Pool::norm ? x * x : x);
}

// One row of results: `line` has room for a row of input, `sums` for one of results.
template <Pool pool>
void pool_row(const Kernels& k, const mil::PoolWindow& w, bool excludes_padding, const half* plane,
              int64_t row, float* line, float* sums) {
    constexpr float start = pool == Pool::maximum ? -std::numeric_limits<float>::infinity() : 0.0f;
    std::fill_n(sums, w.out_width, start);
    const Span rows = window_span(row, w.stride_height, w.kernel_height, w.pad_top, w.pad_bottom, w.height);
    const auto columns = [&](int64_t column) {
        return window_span(column, w.stride_width, w.kernel_width, w.pad_left, w.pad_right, w.width);
    };
    for (int64_t y = rows.first; y < rows.last; ++y) {
        k.to_float(plane + y * w.width, line, static_cast<size_t>(w.width));
        for (int64_t column = 0; column < w.out_width; ++column) {
            const Span span = columns(column);
            for (int64_t x = span.first; x < span.last; ++x)
                sums[column] = combine<pool>(sums[column], line[x]);
        }
    }
    if (pool == Pool::norm) k.unary(Unary::sqrt, sums, {}, sums, static_cast<size_t>(w.out_width));
    if (pool != Pool::average) return;
    for (int64_t column = 0; column < w.out_width; ++column) {
        const Span span = columns(column);
        const int64_t count = excludes_padding ? (rows.last - rows.first) * (span.last - span.first)
                                               : rows.padded * span.padded;
        sums[column] /= static_cast<float>(count);
    }
}

template <Pool pool>
void lower_pool(Lowering& l, const mil::OpView& op, Results results) {
    const mil::PoolWindow w = mil::pool_window(op);
    const bool excludes_padding = op.boolean("exclude_padding_from_average", false);
    const Rounding rounding = l.profile().elementwise;
    const int64_t worker_floats = w.width + w.out_width;
    const Buffer x = l.buffer(op.value("x")), y = l.result(*results[0]);
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    l.step({x}, {y, scratch}, [=](const Execution& e) {
        e.threads.parallel_for(w.planes * w.out_height, [&](int64_t task, int worker) {
            float* line = e.at<float>(scratch) + worker * worker_floats;
            float* sums = line + w.width;
            const half* plane = e.at<half>(x) + task / w.out_height * w.height * w.width;
            pool_row<pool>(e.kernels, w, excludes_padding, plane, task % w.out_height, line, sums);
            e.kernels.to_half(sums, e.at<half>(y) + task * w.out_width, static_cast<size_t>(w.out_width),
                              rounding);
        });
    });
}

}  // namespace

std::span<const LoweringEntry> pooling_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"avg_pool", lower_pool<Pool::average>},
        {"l2_pool", lower_pool<Pool::norm>},
        {"max_pool", lower_pool<Pool::maximum>},
    };
    return table;
}

}  // namespace ane::emulator
