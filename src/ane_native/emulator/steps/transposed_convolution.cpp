// conv_transpose: each element of the result sums the products that the convolution would take from its
// place. The taps that meet an element are those of its place modulo the stride, so the places of one
// remainder, in rows and in columns, are the result of a convolution of stride 1 with those taps alone: a
// matrix product.
#include <algorithm>
#include <array>
#include <map>

#include "../../mil/ops/windows.h"
#include "../lowering.h"
#include "product.h"

namespace ane::emulator {

namespace {

// Along one axis, the places first, first + stride, ... of the result. Tap taps[t] brings to place number i
// the element i + offsets[t] of x, where there is one.
struct Phase {
    int64_t first, count;
    std::vector<int64_t> taps, offsets;
};

// Those that any tap meets.
std::vector<Phase> phases(int64_t extent, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
    std::map<int64_t, Phase> found;
    for (int64_t tap = 0; tap < kernel; ++tap) {
        const int64_t shift = tap * dilation - pad;
        const int64_t first = (shift % stride + stride) % stride;
        if (first >= extent) continue;
        Phase& phase = found[first];
        phase.first = first;
        phase.count = ceil_divide(extent - first, stride);
        phase.taps.push_back(tap);
        phase.offsets.push_back((first - shift) / stride);
    }
    std::vector<Phase> result;
    for (auto& [first, phase] : found) result.push_back(std::move(phase));
    return result;
}

// The places of one phase of rows and one of columns.
struct Part {
    Phase rows, columns;

    int64_t taps() const { return static_cast<int64_t>(rows.taps.size() * columns.taps.size()); }
    int64_t places() const { return rows.count * columns.count; }
};

// What one tap brings to `n` places from number `first` on: 0 where x ends.
void gather(const mil::ConvWindow& w, const Part& part, const half* channel, int64_t tap, int64_t first,
            int64_t n, half* line) {
    const auto across = static_cast<int64_t>(part.columns.taps.size());
    const int64_t down = part.rows.offsets[tap / across], shift = part.columns.offsets[tap % across];
    while (n > 0) {
        const int64_t row = first / part.columns.count + down, column = first % part.columns.count;
        const int64_t count = std::min(n, part.columns.count - column);
        const bool inside = row >= 0 && row < w.out_height;
        const int64_t begin = inside ? std::clamp<int64_t>(-shift - column, 0, count) : count;
        const int64_t end = std::clamp(w.out_width - shift - column, begin, count);
        const half* x = channel + row * w.out_width + column + shift;
        std::fill(line, line + begin, half{0});
        std::copy(x + begin, x + end, line + begin);
        std::fill(line + end, line + count, half{0});
        line += count;
        first += count;
        n -= count;
    }
}

void pack(const Kernels& k, const mil::ConvWindow& w, const Part& part, const half* x, const Panel& panel,
          float* to) {
    half line[widest_tile];
    for (int64_t i = 0; i < panel.rows; ++i) {
        const int64_t channel = (panel.row + i) / part.taps(), tap = (panel.row + i) % part.taps();
        gather(w, part, x + panel.offset + channel * w.out_height * w.out_width, tap, panel.column,
               panel.columns, line);
        k.products->pack(line, 0, 1, static_cast<size_t>(panel.columns),
                         to + i * static_cast<int64_t>(k.products->strip), static_cast<size_t>(panel.rows));
    }
}

// The weight [x's channels, result's channels of a group, taps] with the part's taps alone, as [result's
// channels, x's channels of a group, taps].
Buffer weight_of(Lowering& l, const mil::ConvWindow& w, const Part& part, Buffer weight) {
    const int64_t inputs = w.out_channels / w.groups, outputs = w.in_channels / w.groups, taps = part.taps();
    const Buffer result = l.scratch(w.in_channels * inputs * taps * static_cast<int64_t>(sizeof(half)));
    l.step({weight}, {result}, [=](const Execution& e) {
        const auto across = static_cast<int64_t>(part.columns.taps.size());
        e.threads.parallel_for(w.in_channels, [&](int64_t output, int) {
            half* to = e.at<half>(result) + output * inputs * taps;
            for (int64_t input = 0; input < inputs; ++input) {
                const half* from =
                    e.at<half>(weight) + ((output / outputs * inputs + input) * outputs + output % outputs) *
                                             w.kernel_height * w.kernel_width;
                for (int64_t tap = 0; tap < taps; ++tap)
                    *to++ =
                        from[part.rows.taps[tap / across] * w.kernel_width + part.columns.taps[tap % across]];
            }
        });
    });
    return result;
}

void add_part(Lowering& l, const mil::ConvWindow& w, const Part& part, Buffer x, Buffer weight, Buffer y) {
    const int64_t inputs = w.out_channels / w.groups, outputs = w.in_channels / w.groups;
    const int64_t inner = inputs * part.taps(), size = w.out_height * w.out_width;
    const auto offsets = [=](int64_t batch) {
        return std::array{batch % w.groups * outputs * inner, batch * inputs * size};
    };
    const auto pack_part = [=](const Execution& e, const Panel& panel, float* to) {
        pack(e.kernels, w, part, e.at<half>(x), panel, to);
    };
    add_product(l, {w.batch * w.groups, outputs, inner, part.places(), offsets, pack_part},
                weight_of(l, w, part, weight), x, -1, y);
}

// Puts the parts in their places, and zeros where no tap meets the result.
void add_interleave(Lowering& l, const mil::ConvWindow& w, const std::vector<Part>& parts,
                    const std::vector<Buffer>& from, Buffer y) {
    l.step(from, {y}, [=](const Execution& e) {
        e.threads.parallel_for(w.batch * w.in_channels, [&](int64_t plane, int) {
            half* to = e.at<half>(y) + plane * w.height * w.width;
            std::fill_n(to, w.height * w.width, half{0});
            for (size_t i = 0; i < parts.size(); ++i) {
                const Phase &rows = parts[i].rows, &columns = parts[i].columns;
                const half* element = e.at<half>(from[i]) + plane * parts[i].places();
                for (int64_t row = 0; row < rows.count; ++row) {
                    half* line = to + (rows.first + row * w.stride_height) * w.width + columns.first;
                    for (int64_t column = 0; column < columns.count; ++column)
                        line[column * w.stride_width] = *element++;
                }
            }
        });
    });
}

void lower_conv_transpose(Lowering& l, const mil::OpView& op, Results results) {
    const mil::ConvWindow w = mil::conv_transpose_window(op);
    if (w.kernel_width > l.profile().max_kernel_width)
        op.refuse("weight", "the kernel is " + std::to_string(w.kernel_width) +
                                " wide; the engine takes at most " +
                                std::to_string(l.profile().max_kernel_width));
    if (!l.is_constant(op.value("weight")))
        op.refuse("weight", "'weight' must be a constant: use matmul for run-time weights");
    const Buffer x = l.buffer(op.value("x")), weight = l.buffer(op.value("weight")),
                 y = l.result(*results[0]);
    std::vector<Part> parts;
    for (const Phase& rows : phases(w.height, w.kernel_height, w.stride_height, w.dilation_height, w.pad_top))
        for (const Phase& columns :
             phases(w.width, w.kernel_width, w.stride_width, w.dilation_width, w.pad_left))
            parts.push_back({rows, columns});
    if (w.stride_height == 1 && w.stride_width == 1) return add_part(l, w, parts.front(), x, weight, y);
    std::vector<Buffer> from;
    for (const Part& part : parts) {
        from.push_back(
            l.scratch(w.batch * w.in_channels * part.places() * static_cast<int64_t>(sizeof(half))));
        add_part(l, w, part, x, weight, from.back());
    }
    add_interleave(l, w, parts, from, y);
}

}  // namespace

std::span<const LoweringEntry> transposed_convolution_lowerings() {
    static constexpr LoweringEntry table[] = {{"conv_transpose", lower_conv_transpose}};
    return table;
}

}  // namespace ane::emulator
