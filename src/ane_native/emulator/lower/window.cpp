// Windows and samples of images: pools, resizing, affine maps.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "emulator/transfer.h"
#include "gather.h"
#include "mil/ops/sampling.h"
#include "mil/ops/window_shape.h"

namespace ane::emulator {

namespace {

enum class Pool : uint8_t { maximum, average, norm };

// The elements of a window that lie inside [0, extent), and how many it has with its padding.
struct Span {
    int64_t first, last, padded;
};

Span window_span(const mil::WindowAxis& axis, int64_t position) {
    const int64_t start = axis.source(position, 0), end = start + axis.kernel;
    return {std::max<int64_t>(0, start), std::min(axis.size, end),
            std::min(axis.size + axis.after, end) - start};
}

constexpr int64_t few_elements = 8;  // elements that gain nothing from a kernel

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
    if (n < few_elements)
        std::transform(results, results + n, x, results, combine<pool>);
    else
        k.binary(pool == Pool::maximum ? Binary::maximum : Binary::add, results, x, results,
                 static_cast<size_t>(n));
}

template <Pool pool>
void pool_narrow_line(const mil::WindowAxis& width, const float* line, float* results) {
    for (int64_t column = 0; column < width.extent; ++column) {
        const Span span = window_span(width, column);
        for (int64_t x = span.first; x < span.last; ++x)
            results[column] = combine<pool>(results[column], line[x]);
    }
}

void take(const float* from, int64_t stride, int64_t n, float* to) {
    if (stride == 2) {  // which compilers vectorize
        for (int64_t i = 0; i < n; ++i) to[i] = from[2 * i];
    } else {
        for (int64_t i = 0; i < n; ++i) to[i] = from[stride * i];
    }
}

// For each place in the window, the element there of every window: `taken` has room for those of a row.
template <Pool pool>
void pool_line(const Kernels& k, const mil::WindowAxis& width, const float* line, float* taken,
               float* results) {
    if (width.extent < few_elements) return pool_narrow_line<pool>(width, line, results);
    for (int64_t place = 0; place < width.kernel; ++place) {
        const int64_t offset = width.source(0, place);
        const int64_t begin = offset < 0 ? ceil_divide(-offset, width.stride) : 0;
        const int64_t end = std::min(width.extent, ceil_divide(width.size - offset, width.stride));
        if (begin >= end) continue;
        const float* elements = line + offset + begin * width.stride;
        if (width.stride > 1) {
            take(elements, width.stride, end - begin, taken);
            elements = taken;
        }
        join<pool>(k, results + begin, elements, end - begin);
    }
}

// One row of a channel's results: first the rows of input that its windows see become one, then the places in
// them. `memory` has room for two rows of input and one of results; `widths` are the columns that each
// window's average counts.
template <Pool pool>
void pool_row(const Kernels& k, const mil::Window& w, bool excludes_padding, const std::vector<float>& widths,
              Numbers numbers, const half* channel, int64_t row, float* memory, float* results) {
    const mil::WindowAxis &height = w.height(), &width = w.width();
    const auto size = static_cast<size_t>(width.size), extent = static_cast<size_t>(width.extent);
    float *line = memory, *next = line + width.size, *taken = next + width.size;
    const Span planes = window_span(w.depth(), row / height.extent),
               rows = window_span(height, row % height.extent);
    float* to = line;
    for (int64_t z = planes.first; z < planes.last; ++z)
        for (int64_t y = rows.first; y < rows.last; ++y) {
            k.widen(channel + (z * height.size + y) * width.size, to, size, numbers);
            if (pool == Pool::norm) k.binary(Binary::mul, to, to, to, size);
            if (std::exchange(to, next) == next) join<pool>(k, line, next, width.size);
        }
    std::fill_n(results, width.extent,
                pool == Pool::maximum ? -std::numeric_limits<float>::infinity() : 0.0f);
    pool_line<pool>(k, width, line, taken, results);
    if (pool == Pool::norm) k.unary(Unary::sqrt, results, {}, results, extent);
    if (pool != Pool::average) return;
    const int64_t count = excludes_padding ? (planes.last - planes.first) * (rows.last - rows.first)
                                           : planes.padded * rows.padded;
    k.binary_scalar(Binary::mul, widths.data(), static_cast<float>(count), taken, extent);
    k.binary(Binary::real_div, results, taken, results, extent);
}

template <Pool pool>
void lower_pool(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Window w = mil::pool_window(op);
    const mil::WindowAxis& width = w.width();
    const bool excludes_padding = op.op() == "avg_pool" && op.boolean("exclude_padding_from_average");
    std::vector<float> widths;
    for (int64_t column = 0; column < width.extent; ++column) {
        const Span span = window_span(width, column);
        widths.push_back(static_cast<float>(excludes_padding ? span.last - span.first : span.padded));
    }
    const Rounding rounding = {l.profile().numbers};
    const int64_t worker_floats = 2 * (width.size + width.extent);
    const int64_t inputs = w.inputs(), columns = width.extent, rows = w.positions() / columns;
    const int64_t all_rows = results[0]->type.elements() / columns;
    const Buffer x = l.buffer(op.value("x")), y = l.result(*results[0]);
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    l.step({x}, {y, scratch}, [=](const Execution& e) {
        e.threads.parallel_for(all_rows, [&](int64_t task, int worker) {
            float* memory = e.at<float>(scratch) + worker * worker_floats;
            float* pooled = memory + worker_floats - columns;
            pool_row<pool>(e.kernels, w, excludes_padding, widths, rounding.numbers,
                           e.at<half>(x) + task / rows * inputs, task % rows, memory, pooled);
            e.kernels.to_half(pooled, e.at<half>(y) + task * columns, static_cast<size_t>(columns), rounding);
        });
    });
}

void lower_nearest(Lowering& l, const mil::OpView& op, Results results) {
    add_gather(l, l.buffer(op.value("x")), mil::nearest_sources(op), 0, l.result(*results[0]));
}

// Returns true if the factor samples as the ratio of the sizes does: coremltools rounds factors up.
bool samples_alike(float factor, int64_t size, int64_t extent) {
    constexpr float little = 0.01f;
    for (int64_t i = 0; i < extent; ++i)
        if (static_cast<int64_t>((static_cast<float>(i) + little) / factor) != i * size / extent)
            return false;
    return true;
}

void lower_upsample_nearest(Lowering& l, const mil::OpView& op, Results results) {
    const auto sources = mil::nearest_sources(op);
    for (const auto& [name, axis] : {std::pair{"scale_factor_height", 2}, {"scale_factor_width", 1}})
        if (const auto& source = sources[sources.size() - axis];
            !samples_alike(op.number(name), source.size, source.extent))
            op.refuse(name,
                      "whether the factor or the ratio of the sizes counts, where they differ, is not "
                      "documented, so the emulator does not run it: use resize_nearest_neighbor");
    add_gather(l, l.buffer(op.value("x")), sources, 0, l.result(*results[0]));
}

// The neighbors of one sample, and how far it lies from the first to the second.
struct Neighbors {
    int64_t first, second;
    float fraction;
};

std::vector<Neighbors> neighbors(const mil::Sampling& s) {
    std::vector<Neighbors> result;
    for (int64_t i = 0; i < s.extent; ++i) {
        const double at =
            std::clamp(s.first + static_cast<double>(i) * s.step, 0.0, static_cast<double>(s.size - 1));
        const auto first = static_cast<int64_t>(at);
        result.push_back({first, std::min(first + 1, s.size - 1), static_cast<float>(at - std::floor(at))});
    }
    return result;
}

float between(float a, float b, float fraction) { return a * (1.0f - fraction) + b * fraction; }

// Rows of the result follow one another, and two rows of x at a time, each interpolated along itself, make
// them: a row of x is interpolated once for all rows of the result in a task that need it.
void lower_bilinear(Lowering& l, const mil::OpView& op, Results results) {
    const mil::BilinearSampling s = mil::bilinear_sampling(op);
    const mil::Value& value = op.value("x");
    const int64_t height = s.height.extent, width = s.width.extent, in = s.width.size;
    const int64_t planes = value.type.elements() / (s.height.size * in);
    const int64_t rows_per_task = std::clamp<int64_t>(4 * tile / width, 1, height);
    const int64_t tasks = ceil_divide(height, rows_per_task);
    const Rounding rounding = {l.profile().numbers};
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    const int64_t worker_floats = in + 4 * width;
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    l.step(
        {x}, {y, scratch}, [=, rows = neighbors(s.height), columns = neighbors(s.width)](const Execution& e) {
            e.threads.parallel_for(planes * tasks, [&](int64_t task, int worker) {
                float* source = e.at<float>(scratch) + worker * worker_floats;
                float *stretched = source + in, *line = stretched + 2 * width, *below = line + width;
                const half* plane = e.at<half>(x) + task / tasks * s.height.size * in;
                // One of two neighboring rows is even.
                std::array<int64_t, 2> held = {-1, -1};
                const auto row_of_x = [&](int64_t row) {
                    float* to = stretched + row % 2 * width;
                    if (std::exchange(held[row % 2], row) == row) return to;
                    e.kernels.widen(plane + row * in, source, static_cast<size_t>(in), rounding.numbers);
                    for (int64_t i = 0; i < width; ++i)
                        to[i] =
                            between(source[columns[i].first], source[columns[i].second], columns[i].fraction);
                    return to;
                };
                const auto n = static_cast<size_t>(width);
                const int64_t first = task % tasks * rows_per_task,
                              last = std::min(height, first + rows_per_task);
                for (int64_t row = first; row < last; ++row) {
                    const auto [upper, lower, fraction] = rows[row];
                    e.kernels.binary_scalar(Binary::mul, row_of_x(upper), 1.0f - fraction, line, n);
                    e.kernels.binary_scalar(Binary::mul, row_of_x(lower), fraction, below, n);
                    e.kernels.binary(Binary::add, line, below, line, n);
                    e.kernels.to_half(line, e.at<half>(y) + (task / tasks * height + row) * width, n,
                                      rounding);
                }
            });
        });
}

// Where a place of the result lies in the image, in elements. Places and images reach from -1 to 1, from the
// middle of the first element to that of the last.
struct Point {
    double row, column;
};

Point mapped(const mil::AffineMap& m, const float* matrix, int64_t row, int64_t column) {
    const auto normalized = [](int64_t i, int64_t extent) {
        return 2.0 * static_cast<double>(i) / static_cast<double>(extent - 1) - 1.0;
    };
    const auto element = [](double at, int64_t extent) {
        return (at + 1) / 2 * static_cast<double>(extent - 1);
    };
    const double x = normalized(column, m.out_width), y = normalized(row, m.out_height);
    return {element(matrix[3] * x + matrix[4] * y + matrix[5], m.height),
            element(matrix[0] * x + matrix[1] * y + matrix[2], m.width)};
}

// The elements around a point, row by row, -1 where the image has none, and how far it lies between them.
struct Corners {
    std::array<int64_t, 4> elements = {-1, -1, -1, -1};
    float across = 0, down = 0;
};

// None if the point is undefined or not near the image.
Corners corners(const mil::AffineMap& m, Point at) {
    Corners result;
    if (!(at.row > -1 && at.row < static_cast<double>(m.height) && at.column > -1 &&
          at.column < static_cast<double>(m.width)))
        return result;
    const double top = std::floor(at.row), left = std::floor(at.column);
    for (size_t i = 0; i < 4; ++i) {
        const int64_t row = static_cast<int64_t>(top) + static_cast<int64_t>(i / 2),
                      column = static_cast<int64_t>(left) + static_cast<int64_t>(i % 2);
        if (row >= 0 && row < m.height && column >= 0 && column < m.width)
            result.elements[i] = row * m.width + column;
    }
    result.across = static_cast<float>(at.column - left);
    result.down = static_cast<float>(at.row - top);
    return result;
}

// Zeros surround the image.
float sample(const float* image, const Corners& c) {
    const auto at = [&](size_t i) { return c.elements[i] < 0 ? 0.0f : image[c.elements[i]]; };
    return between(between(at(0), at(1), c.across), between(at(2), at(3), c.across), c.down);
}

void lower_affine(Lowering& l, const mil::OpView& op, Results results) {
    const mil::AffineMap m = mil::affine_map(op);
    if (m.out_height == 1 || m.out_width == 1)
        op.refuse(m.out_height == 1 ? "output_height" : "output_width",
                  "where a single element lies between -1 and 1 is not documented, so the emulator does not "
                  "run it: map to 2 elements or more");
    const Rounding rounding = {l.profile().numbers};
    const Buffer x = l.floats(op.value("x")), matrices = l.floats(op.value("transform_matrix")),
                 y = l.result(*results[0]);
    const Buffer lines = l.scratch(l.workers() * m.out_width * static_cast<int64_t>(sizeof(float)));
    const Buffer points = l.scratch(l.workers() * m.out_width * static_cast<int64_t>(sizeof(Corners)));
    l.step({x, matrices}, {y, lines, points}, [=](const Execution& e) {
        // A row of all channels: they lie alike.
        e.threads.parallel_for(m.batch * m.out_height, [&](int64_t task, int worker) {
            const int64_t image = task / m.out_height, row = task % m.out_height;
            const float* matrix = e.at<float>(matrices) + image % m.matrices * 6;
            float* line = e.at<float>(lines) + worker * m.out_width;
            auto* point = e.at<Corners>(points) + worker * m.out_width;
            for (int64_t column = 0; column < m.out_width; ++column)
                point[column] = corners(m, mapped(m, matrix, row, column));
            for (int64_t plane = image * m.channels; plane < (image + 1) * m.channels; ++plane) {
                const float* from = e.at<float>(x) + plane * m.height * m.width;
                for (int64_t column = 0; column < m.out_width; ++column)
                    line[column] = sample(from, point[column]);
                e.kernels.to_half(line, e.at<half>(y) + (plane * m.out_height + row) * m.out_width,
                                  static_cast<size_t>(m.out_width), rounding);
            }
        });
    });
}

}  // namespace

std::span<const LoweringEntry> window_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"affine", lower_affine},
        {"avg_pool", lower_pool<Pool::average>},
        {"l2_pool", lower_pool<Pool::norm>},
        {"max_pool", lower_pool<Pool::maximum>},
        {"resize_bilinear", lower_bilinear},
        {"resize_nearest_neighbor", lower_nearest},
        {"upsample_bilinear", lower_bilinear},
        {"upsample_nearest_neighbor", lower_upsample_nearest},
    };
    return table;
}

}  // namespace ane::emulator
