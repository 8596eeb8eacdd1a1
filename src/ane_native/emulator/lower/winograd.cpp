// Winograd's F(2, 3): two neighbors of a row, y0 and y1, from four elements d0 to d3 under a kernel's row g0
// to g2.
//
//     y0 = m0 + m1 + m2      m0 = (d0 - d2) g0      m1 = (d1 + d2) (g0 + g1 + g2) / 2
//     y1 = m1 - m2 - m3      m3 = (d1 - d3) g2      m2 = (d2 - d1) (g0 - g1 + g2) / 2
//
// The engine rounds the differences and the transformed weights to fp16, and sums each m over channels and
// the kernel's rows as it sums any product. Rounding is the same on both sides of zero, so y0 and y1 are two
// ordinary products here, of three transformed taps each: with weights for m1, -m2 and -m3 in the second.
#include "winograd.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "product_tiles.h"
#include "taps.h"

namespace ane::emulator {

namespace {

constexpr int64_t outputs = 2, inputs = 4, taps = 3;
// An output of 8 x 16 was computed directly on M6, one of 8 x 32 by the transform; the compiler's own measure
// is not known (751K/Apple-Neural-Engine-Microarchitecture-Study-M6).
constexpr int64_t least_positions = 256;
constexpr int64_t least_weights = 8;  // outputs of a group times taps (ane-guide)
constexpr int64_t highest_kernel = 5;

// The nearest fp16 is that of the fp32 nearest to zero whose last bit tells that something was cut off.
float sticky(double x) {
    auto nearest = static_cast<float>(x);
    if (std::abs(static_cast<double>(nearest)) > std::abs(x)) nearest = std::nextafter(nearest, 0.0f);
    auto bits = std::bit_cast<uint32_t>(nearest);
    if (static_cast<double>(nearest) != x) bits |= 1;
    return std::bit_cast<float>(bits);
}

// The left operands of both products: [outputs, rows of weights, taps].
std::array<Buffer, outputs> transform_weights(Lowering& l, Buffer weight) {
    const int64_t bytes = l.bytes(weight), rows = bytes / static_cast<int64_t>(sizeof(half)) / taps;
    const std::array<Buffer, outputs> to = {l.scratch(bytes), l.scratch(bytes)};
    l.step({weight}, {to[0], to[1]}, [=](const Execution& e) {
        for (int64_t row = 0; row < rows; ++row) {
            float g[taps];
            e.kernels.decode(e.at<half>(weight) + row * taps, g, taps);
            const double sum = double{g[0]} + g[2];
            const float outer[] = {g[0], g[2]},
                        inner[] = {sticky((sum + g[1]) / 2), sticky((sum - g[1]) / 2)};
            const float factors[outputs][taps] = {{outer[0], inner[0], inner[1]},
                                                  {inner[0], -inner[1], -outer[1]}};
            for (size_t i = 0; i < outputs; ++i)
                e.kernels.to_half(factors[i], e.at<half>(to[i]) + row * taps, taps,
                                  {.numbers = Numbers::engine});
        }
    });
    return to;
}

// Planes [height, pitch] of pairs, instead of [height, width] of elements.
struct Pairs {
    explicit Pairs(const mil::ConvWindow& w)
        : before(w.width().before),
          width(w.width().size),
          height(w.height().size),
          count(ceil_divide(w.width().extent, outputs)),
          pitch(count + 1) {}
    int64_t plane() const { return height * pitch; }

    int64_t before, width, height;
    int64_t count;  // of pairs in a row of the result
    int64_t pitch;  // a pair needs the next one's elements
};

// Elements 2t + parity of each row of a plane, padding included, for t from 0 on.
void gather_parity(const Pairs& pairs, const half* x, int64_t parity, half* to) {
    for (int64_t row = 0; row < pairs.height; ++row)
        for (int64_t t = 0; t < pairs.pitch; ++t) {
            const int64_t column = 2 * t + parity - pairs.before;
            *to++ = column >= 0 && column < pairs.width ? x[row * pairs.width + column] : half{0};
        }
    *to = half{0};
}

// d0 - d2, d1 + d2, d2 - d1 and d1 - d3 of every pair: [channels, inputs, height, pitch].
Buffer transform_inputs(Lowering& l, const Pairs& pairs, int64_t channels, Buffer x) {
    const int64_t plane = pairs.plane(), line = plane + 1;
    const Buffer to = l.scratch(channels * inputs * plane * static_cast<int64_t>(sizeof(half)));
    const Buffer scratch = l.scratch(l.workers() * 2 * line * static_cast<int64_t>(sizeof(half)));
    l.step({x}, {to, scratch}, [=](const Execution& e) {
        e.threads.parallel_for(channels, [&](int64_t channel, int worker) {
            half *even = e.at<half>(scratch) + worker * 2 * line, *odd = even + line;
            const half* from = e.at<half>(x) + channel * pairs.height * pairs.width;
            gather_parity(pairs, from, 0, even);
            gather_parity(pairs, from, 1, odd);
            half* v = e.at<half>(to) + channel * inputs * plane;
            const auto combine = [&](Binary op, const half* a, const half* b) {
                e.kernels.binary_halves(op, a, b, v, size(plane), Numbers::engine);
                v += plane;
            };
            combine(Binary::sub, even, even + 1);
            combine(Binary::add, odd, even + 1);
            combine(Binary::sub, even + 1, odd);
            combine(Binary::sub, odd, odd + 1);
        });
    });
    return to;
}

}  // namespace

bool takes_winograd(const mil::ConvWindow& w) {
    const mil::WindowAxis &height = w.height(), &width = w.width();
    const int64_t rows = w.out_channels / w.groups, channels = w.in_channels / w.groups;
    const auto is_plain = [](const mil::WindowAxis& axis) { return axis.stride == 1 && axis.dilation == 1; };
    return width.kernel == taps && height.kernel <= highest_kernel && w.depth().kernel == 1 &&
           w.depth().size == 1 && is_plain(height) && is_plain(width) && channels > 1 &&
           rows * height.kernel * taps >= least_weights && w.positions() >= least_positions;
}

void add_winograd(Lowering& l, const mil::ConvWindow& w, Buffer x, Buffer weight, std::optional<Buffer> bias,
                  Buffer y) {
    const Pairs pairs(w);
    const int64_t channels = w.in_channels / w.groups, rows = w.out_channels / w.groups;
    const int64_t kernel_rows = w.height().kernel, plane = pairs.plane();
    const int64_t positions = w.height().extent * pairs.count, inner = channels * kernel_rows * taps;
    const auto left = transform_weights(l, weight);
    const Buffer right = transform_inputs(l, pairs, w.batch * w.in_channels, x);
    mil::ConvWindow transformed{};  // one tap wide
    transformed.axes[1] = w.height();
    transformed.axes[2] = {.size = pairs.pitch, .extent = pairs.count};
    std::array<Buffer, outputs> results;
    for (int64_t i = 0; i < outputs; ++i) {
        const auto pack = [=](const Execution& e, const Panel& panel, Pack pack_rows, float* to) {
            half line[widest_tile];
            for (int64_t k = 0; k < panel.rows; ++k) {
                const int64_t row = (panel.row + k) / taps, input = (panel.row + k) % taps + i;
                const half* from =
                    e.at<half>(right) + panel.offset + (row / kernel_rows * inputs + input) * plane;
                gather_tap(transformed, from, row % kernel_rows, panel.column, panel.columns, half{0}, line);
                pack_rows(line, 0, size(k), 1, size(panel.columns), to, size(panel.rows));
            }
        };
        const auto offsets = [=, groups = w.groups](int64_t batch) {
            return std::array{batch % groups * rows * inner, batch * channels * inputs * plane};
        };
        const int64_t count = w.batch * w.out_channels * positions;
        results[size(i)] = l.scratch(count * static_cast<int64_t>(sizeof(half)));
        add_product(l, {w.batch * w.groups, rows, inner, positions, offsets, pack, bias, true}, left[size(i)],
                    right, results[size(i)]);
    }
    const int64_t lines = w.batch * w.out_channels * w.height().extent, width = w.width().extent;
    l.step({results[0], results[1]}, {y}, [=](const Execution& e) {
        constexpr int64_t at_once = 64;
        e.threads.parallel_for(ceil_divide(lines, at_once), [&](int64_t task, int) {
            for (int64_t line = task * at_once; line < std::min(lines, (task + 1) * at_once); ++line)
                for (int64_t i = 0; i < outputs; ++i) {
                    const half* from = e.at<half>(results[size(i)]) + line * pairs.count;
                    half* to = e.at<half>(y) + line * width + i;
                    for (int64_t t = 0; outputs * t + i < width; ++t) to[outputs * t] = from[t];
                }
        });
    });
}

}  // namespace ane::emulator
