// Operations that interpolate between elements: bilinear resizing, and affine maps of images.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "../../mil/ops/rearrangement.h"
#include "../lowering.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

// The neighbours of one sample, and how far it lies from the first to the second.
struct Neighbours {
    int64_t first, second;
    float fraction;
};

std::vector<Neighbours> neighbours(const mil::Sampling& s) {
    std::vector<Neighbours> result;
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
    const Rounding rounding = l.profile().elementwise;
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    const int64_t worker_floats = in + 4 * width;
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    l.step({x}, {y, scratch},
           [=, rows = neighbours(s.height), columns = neighbours(s.width)](const Execution& e) {
               e.threads.parallel_for(planes * tasks, [&](int64_t task, int worker) {
                   float* source = e.at<float>(scratch) + worker * worker_floats;
                   float *stretched = source + in, *line = stretched + 2 * width, *below = line + width;
                   const half* plane = e.at<half>(x) + task / tasks * s.height.size * in;
                   // Of two neighbouring rows one is even.
                   std::array<int64_t, 2> held = {-1, -1};
                   const auto row_of_x = [&](int64_t row) {
                       float* to = stretched + row % 2 * width;
                       if (std::exchange(held[row % 2], row) == row) return to;
                       e.kernels.to_float(plane + row * in, source, static_cast<size_t>(in));
                       for (int64_t i = 0; i < width; ++i)
                           to[i] = between(source[columns[i].first], source[columns[i].second],
                                           columns[i].fraction);
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
    const auto normalised = [](int64_t i, int64_t extent) {
        return 2.0 * static_cast<double>(i) / static_cast<double>(extent - 1) - 1.0;
    };
    const auto element = [](double at, int64_t extent) {
        return (at + 1) / 2 * static_cast<double>(extent - 1);
    };
    const double x = normalised(column, m.out_width), y = normalised(row, m.out_height);
    return {element(matrix[3] * x + matrix[4] * y + matrix[5], m.height),
            element(matrix[0] * x + matrix[1] * y + matrix[2], m.width)};
}

// The elements around a point, row by row, -1 where the image has none, and how far it lies between them.
struct Corners {
    std::array<int64_t, 4> elements = {-1, -1, -1, -1};
    float across = 0, down = 0;
};

// Of a point that is not near the image, or undefined, there are none.
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
    const Rounding rounding = l.profile().elementwise;
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

std::span<const LoweringEntry> sampling_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"affine", lower_affine},
        {"resize_bilinear", lower_bilinear},
        {"upsample_bilinear", lower_bilinear},
    };
    return table;
}

}  // namespace ane::emulator
