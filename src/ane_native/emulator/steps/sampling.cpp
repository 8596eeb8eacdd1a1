// Operations that interpolate between elements: bilinear resizing, and affine maps of images.
#include <algorithm>
#include <cmath>

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

void lower_bilinear(Lowering& l, const mil::OpView& op, Results results) {
    const mil::BilinearSampling s = mil::bilinear_sampling(op);
    const mil::Value& value = op.value("x");
    const int64_t height = s.height.extent, width = s.width.extent, in = s.width.size;
    const int64_t planes = value.type.elements() / (s.height.size * in);
    const Rounding rounding = l.profile().elementwise;
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    const int64_t worker_floats = 2 * in + width;
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    l.step({x}, {y, scratch},
           [=, rows = neighbours(s.height), columns = neighbours(s.width)](const Execution& e) {
               e.threads.parallel_for(planes * height, [&](int64_t task, int worker) {
                   float* upper = e.at<float>(scratch) + worker * worker_floats;
                   float *lower = upper + in, *line = lower + in;
                   const Neighbours& row = rows[task % height];
                   const half* plane = e.at<half>(x) + task / height * s.height.size * in;
                   e.kernels.to_float(plane + row.first * in, upper, static_cast<size_t>(in));
                   e.kernels.to_float(plane + row.second * in, lower, static_cast<size_t>(in));
                   for (int64_t i = 0; i < width; ++i) {
                       const auto [first, second, fraction] = columns[i];
                       line[i] = between(between(upper[first], upper[second], fraction),
                                         between(lower[first], lower[second], fraction), row.fraction);
                   }
                   e.kernels.to_half(line, e.at<half>(y) + task * width, static_cast<size_t>(width),
                                     rounding);
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

// The image is surrounded by zeros; what is not near it, as an undefined point, is 0.
float sample(const Kernels& k, const mil::AffineMap& m, const half* image, Point at) {
    if (!(at.row > -1 && at.row < static_cast<double>(m.height) && at.column > -1 &&
          at.column < static_cast<double>(m.width)))
        return 0;
    const double top = std::floor(at.row), left = std::floor(at.column);
    const auto row = static_cast<int64_t>(top), column = static_cast<int64_t>(left);
    float corners[4] = {};
    for (int64_t i = 0; i < 4; ++i) {
        const int64_t r = row + i / 2, c = column + i % 2;
        if (r >= 0 && r < m.height && c >= 0 && c < m.width)
            k.to_float(image + r * m.width + c, corners + i, 1);
    }
    const auto across = static_cast<float>(at.column - left), down = static_cast<float>(at.row - top);
    return between(between(corners[0], corners[1], across), between(corners[2], corners[3], across), down);
}

void lower_affine(Lowering& l, const mil::OpView& op, Results results) {
    const mil::AffineMap m = mil::affine_map(op);
    if (m.out_height == 1 || m.out_width == 1)
        op.refuse(m.out_height == 1 ? "output_height" : "output_width",
                  "where a single element lies between -1 and 1 is not documented, so the emulator does not "
                  "run it: map to 2 elements or more");
    const Rounding rounding = l.profile().elementwise;
    const Buffer x = l.buffer(op.value("x")), matrices = l.floats(op.value("transform_matrix")),
                 y = l.result(*results[0]);
    const int64_t worker_floats = m.out_width;
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    l.step({x, matrices}, {y, scratch}, [=](const Execution& e) {
        e.threads.parallel_for(m.batch * m.channels * m.out_height, [&](int64_t task, int worker) {
            const int64_t plane = task / m.out_height, row = task % m.out_height;
            const half* image = e.at<half>(x) + plane * m.height * m.width;
            const float* matrix = e.at<float>(matrices) + plane / m.channels % m.matrices * 6;
            float* line = e.at<float>(scratch) + worker * worker_floats;
            for (int64_t column = 0; column < m.out_width; ++column)
                line[column] = sample(e.kernels, m, image, mapped(m, matrix, row, column));
            e.kernels.to_half(line, e.at<half>(y) + task * m.out_width, static_cast<size_t>(m.out_width),
                              rounding);
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
