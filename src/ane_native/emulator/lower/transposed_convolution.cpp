// conv_transpose: each element of the result sums the products that the forward convolution would take from
// its place. The taps that meet an element are those of its place modulo the stride, its phase. The places of
// one phase, in rows and in columns, are therefore the result of a convolution of stride 1 with those taps
// alone: a matrix product. Phases that see the same elements of x share one product.
#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "convolution.h"
#include "mil/ops/window_shape.h"
#include "product_tiles.h"

namespace ane::emulator {

namespace {

// Along one axis, places of the result: of each phase r, firsts[r], firsts[r] + stride, ... Tap
// taps[r][t] brings to place number i of the phase the element i + offsets[t] of x, where there is one.
struct Phases {
    std::vector<int64_t> offsets;
    int64_t count;
    std::vector<int64_t> firsts = {};
    std::vector<std::vector<int64_t>> taps = {};
};

// Those that any tap meets, together where they have the same offsets and count.
std::vector<Phases> phases(int64_t extent, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
    std::map<int64_t, std::array<std::vector<int64_t>, 2>> by_first;  // taps and offsets
    for (int64_t tap = 0; tap < kernel; ++tap) {
        const int64_t shift = tap * dilation - pad;
        const int64_t first = (shift % stride + stride) % stride;
        if (first >= extent) continue;
        auto& [taps, offsets] = by_first[first];
        taps.push_back(tap);
        offsets.push_back((first - shift) / stride);
    }
    std::map<std::pair<std::vector<int64_t>, int64_t>, Phases> by_offsets;
    for (auto& [first, found] : by_first) {
        const int64_t count = ceil_divide(extent - first, stride);
        Phases& same = by_offsets.try_emplace({found[1], count}, Phases{found[1], count}).first->second;
        same.firsts.push_back(first);
        same.taps.push_back(std::move(found[0]));
    }
    std::vector<Phases> result;
    for (auto& [offsets, phases] : by_offsets) result.push_back(std::move(phases));
    return result;
}

// The places of some phases of rows and of columns.
struct PhaseBlock {
    Phases rows, columns;

    int64_t taps() const { return static_cast<int64_t>(rows.offsets.size() * columns.offsets.size()); }
    int64_t places() const { return rows.count * columns.count; }
    int64_t phase_count() const { return static_cast<int64_t>(rows.firsts.size() * columns.firsts.size()); }
};

// What one tap brings to `n` places from number `first` on: 0 where x ends.
void gather(const mil::ConvWindow& w, const PhaseBlock& part, const half* channel, int64_t tap, int64_t first,
            int64_t n, half* line) {
    const auto across = static_cast<int64_t>(part.columns.offsets.size());
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

void pack(const Kernels& k, const mil::ConvWindow& w, const PhaseBlock& part, const half* x,
          const Panel& panel, float* to) {
    half line[widest_tile];
    for (int64_t i = 0; i < panel.rows; ++i) {
        const int64_t channel = (panel.row + i) / part.taps(), tap = (panel.row + i) % part.taps();
        gather(w, part, x + panel.offset + channel * w.out_height * w.out_width, tap, panel.column,
               panel.columns, line);
        k.products->pack(line, 0, 1, static_cast<size_t>(panel.columns),
                         to + i * static_cast<int64_t>(k.products->strip), static_cast<size_t>(panel.rows));
    }
}

// The weight [x's channels, result's channels of a group, taps] as [result's channels, phases, x's
// channels of a group, the part's taps].
Buffer weight_of(Lowering& l, const mil::ConvWindow& w, const PhaseBlock& part, Buffer weight) {
    const int64_t inputs = w.out_channels / w.groups, outputs = w.in_channels / w.groups;
    const int64_t row = inputs * part.taps();
    const Buffer result =
        l.scratch(w.in_channels * part.phase_count() * row * static_cast<int64_t>(sizeof(half)));
    l.step({weight}, {result}, [=](const Execution& e) {
        e.threads.parallel_for(w.in_channels, [&](int64_t output, int) {
            const half* from = e.at<half>(weight) + (output / outputs * inputs * outputs + output % outputs) *
                                                        w.kernel_height * w.kernel_width;
            half* to = e.at<half>(result) + output * part.phase_count() * row;
            for (const auto& down : part.rows.taps)
                for (const auto& across : part.columns.taps)
                    for (int64_t input = 0; input < inputs; ++input) {
                        const half* kernel = from + input * outputs * w.kernel_height * w.kernel_width;
                        for (const int64_t i : down)
                            for (const int64_t j : across) *to++ = kernel[i * w.kernel_width + j];
                    }
        });
    });
    return result;
}

void add_part(Lowering& l, const mil::ConvWindow& w, const PhaseBlock& part, Buffer x, Buffer weight,
              Buffer y) {
    const int64_t inputs = w.out_channels / w.groups, outputs = w.in_channels / w.groups;
    const int64_t inner = inputs * part.taps(), size = w.out_height * w.out_width;
    const int64_t rows = outputs * part.phase_count();
    const auto offsets = [=](int64_t batch) {
        return std::array{batch % w.groups * rows * inner, batch * inputs * size};
    };
    const auto pack_part = [=](const Execution& e, const Panel& panel, float* to) {
        pack(e.kernels, w, part, e.at<half>(x), panel, to);
    };
    add_product(l, {w.batch * w.groups, rows, inner, part.places(), offsets, pack_part},
                weight_of(l, w, part, weight), x, {}, y);
}

// Puts the parts in their places, and zeros where no tap meets the result.
void add_interleave(Lowering& l, const mil::ConvWindow& w, const std::vector<PhaseBlock>& parts,
                    const std::vector<Buffer>& from, Buffer y) {
    l.step(from, {y}, [=](const Execution& e) {
        e.threads.parallel_for(w.batch * w.in_channels, [&](int64_t plane, int) {
            half* to = e.at<half>(y) + plane * w.height * w.width;
            std::fill_n(to, w.height * w.width, half{0});
            for (size_t i = 0; i < parts.size(); ++i) {
                const Phases &rows = parts[i].rows, &columns = parts[i].columns;
                const half* element =
                    e.at<half>(from[i]) + plane * parts[i].phase_count() * parts[i].places();
                for (const int64_t top : rows.firsts)
                    for (const int64_t left : columns.firsts)
                        for (int64_t row = 0; row < rows.count; ++row) {
                            half* line = to + (top + row * w.stride_height) * w.width + left;
                            for (int64_t column = 0; column < columns.count; ++column)
                                line[column * w.stride_width] = *element++;
                        }
            }
        });
    });
}

}  // namespace

void lower_conv_transpose(Lowering& l, const mil::OpView& op, Results results) {
    const mil::ConvWindow w = mil::conv_transpose_window(op);
    if (w.kernel_width > l.profile().max_kernel_width)
        op.refuse("weight", "the kernel is " + std::to_string(w.kernel_width) +
                                " wide; the engine takes at most " +
                                std::to_string(l.profile().max_kernel_width));
    if (!l.is_constant(op.value("weight")))
        op.refuse("weight", "'weight' must be a constant: use matmul for run-time weights");
    const Buffer x = l.product_operand(op.value("x")), weight = l.product_operand(op.value("weight")),
                 y = l.result(*results[0]);
    std::vector<PhaseBlock> parts;
    for (const Phases& rows :
         phases(w.height, w.kernel_height, w.stride_height, w.dilation_height, w.pad_top))
        for (const Phases& columns :
             phases(w.width, w.kernel_width, w.stride_width, w.dilation_width, w.pad_left))
            parts.push_back({rows, columns});
    if (w.stride_height == 1 && w.stride_width == 1) return add_part(l, w, parts.front(), x, weight, y);
    std::vector<Buffer> from;
    for (const PhaseBlock& part : parts) {
        from.push_back(l.scratch(w.batch * w.in_channels * part.phase_count() * part.places() *
                                 static_cast<int64_t>(sizeof(half))));
        add_part(l, w, part, x, weight, from.back());
    }
    add_interleave(l, w, parts, from, y);
}

}  // namespace ane::emulator
