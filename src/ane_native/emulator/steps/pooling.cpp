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

constexpr int64_t narrow = 8;  // elements that gain nothing from a kernel

// As the kernel does it.
template <Pool pool>
float combine(float result, float x) {
    if (pool != Pool::maximum) return result + x;
    const bool is_larger = x > result || (x == result && !std::signbit(x));
    return is_larger || std::isnan(x) ? x : result;
}

// results[i] <- results[i] joined by x[i]
template <Pool pool>
void join(const Kernels& k, float* results, const float* x, int64_t n) {
    if (n < narrow)
        std::transform(results, results + n, x, results, combine<pool>);
    else
        k.binary(pool == Pool::maximum ? Binary::maximum : Binary::add, results, x, results,
                 static_cast<size_t>(n));
}

template <Pool pool>
void pool_narrow_line(const mil::PoolWindow& w, const float* line, float* results) {
    for (int64_t column = 0; column < w.out_width; ++column) {
        const Span span =
            window_span(column, w.stride_width, w.kernel_width, w.pad_left, w.pad_right, w.width);
        for (int64_t x = span.first; x < span.last; ++x)
            results[column] = combine<pool>(results[column], line[x]);
    }
}

void take(const float* from, int64_t stride, int64_t n, float* to) {
    if (stride == 2) {  // which compilers vectorise
        for (int64_t i = 0; i < n; ++i) to[i] = from[2 * i];
    } else {
        for (int64_t i = 0; i < n; ++i) to[i] = from[stride * i];
    }
}

// For each place in the window, the element there of every window: `taken` has room for those of a row.
template <Pool pool>
void pool_line(const Kernels& k, const mil::PoolWindow& w, const float* line, float* taken, float* results) {
    if (w.out_width < narrow) return pool_narrow_line<pool>(w, line, results);
    for (int64_t place = 0; place < w.kernel_width; ++place) {
        const int64_t offset = place - w.pad_left;
        const int64_t begin = offset < 0 ? ceil_divide(-offset, w.stride_width) : 0;
        const int64_t end = std::min(w.out_width, ceil_divide(w.width - offset, w.stride_width));
        if (begin >= end) continue;
        const float* elements = line + offset + begin * w.stride_width;
        if (w.stride_width > 1) {
            take(elements, w.stride_width, end - begin, taken);
            elements = taken;
        }
        join<pool>(k, results + begin, elements, end - begin);
    }
}

// One row of results: first the rows of input that its windows see become one, then the places in them.
// `memory` has room for two rows of input and one of results; `widths` are the columns that each window's
// average counts.
template <Pool pool>
void pool_row(const Kernels& k, const mil::PoolWindow& w, bool excludes_padding,
              const std::vector<float>& widths, const half* plane, int64_t row, float* memory,
              float* results) {
    const auto width = static_cast<size_t>(w.width), out_width = static_cast<size_t>(w.out_width);
    float *line = memory, *next = line + w.width, *taken = next + w.width;
    const Span rows = window_span(row, w.stride_height, w.kernel_height, w.pad_top, w.pad_bottom, w.height);
    for (int64_t y = rows.first; y < rows.last; ++y) {
        float* to = y == rows.first ? line : next;
        k.to_float(plane + y * w.width, to, width);
        if (pool == Pool::norm) k.binary(Binary::mul, to, to, to, width);
        if (to == next) join<pool>(k, line, next, w.width);
    }
    std::fill_n(results, w.out_width, pool == Pool::maximum ? -std::numeric_limits<float>::infinity() : 0.0f);
    pool_line<pool>(k, w, line, taken, results);
    if (pool == Pool::norm) k.unary(Unary::sqrt, results, {}, results, out_width);
    if (pool != Pool::average) return;
    const int64_t height = excludes_padding ? rows.last - rows.first : rows.padded;
    k.binary_scalar(Binary::mul, widths.data(), static_cast<float>(height), taken, out_width);
    k.binary(Binary::real_div, results, taken, results, out_width);
}

template <Pool pool>
void lower_pool(Lowering& l, const mil::OpView& op, Results results) {
    const mil::PoolWindow w = mil::pool_window(op);
    const bool excludes_padding = op.boolean("exclude_padding_from_average", false);
    std::vector<float> widths;
    for (int64_t column = 0; column < w.out_width; ++column) {
        const Span span =
            window_span(column, w.stride_width, w.kernel_width, w.pad_left, w.pad_right, w.width);
        widths.push_back(static_cast<float>(excludes_padding ? span.last - span.first : span.padded));
    }
    const Rounding rounding = l.profile().elementwise;
    const int64_t worker_floats = 2 * (w.width + w.out_width);
    const Buffer x = l.buffer(op.value("x")), y = l.result(*results[0]);
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    l.step({x}, {y, scratch}, [=](const Execution& e) {
        e.threads.parallel_for(w.planes * w.out_height, [&](int64_t task, int worker) {
            float* memory = e.at<float>(scratch) + worker * worker_floats;
            float* pooled = memory + 2 * w.width + w.out_width;
            const half* plane = e.at<half>(x) + task / w.out_height * w.height * w.width;
            pool_row<pool>(e.kernels, w, excludes_padding, widths, plane, task % w.out_height, memory,
                           pooled);
            e.kernels.to_half(pooled, e.at<half>(y) + task * w.out_width, static_cast<size_t>(w.out_width),
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
