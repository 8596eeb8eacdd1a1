// conv_transpose: each element of the result sums the products that the forward convolution would take from
// its place. The taps that meet an element are those of its place modulo the stride, its phase. The places of
// one phase, in rows and in columns, are therefore the result of a convolution of stride 1 with those taps
// alone: a matrix product. Phases that see the same elements of x share one product.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
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
std::vector<Phases> phases(const mil::WindowAxis& axis) {
    std::map<int64_t, std::array<std::vector<int64_t>, 2>> by_first;  // taps and offsets
    for (int64_t tap = 0; tap < axis.kernel; ++tap) {
        const int64_t shift = axis.source(0, tap);
        const int64_t first = (shift % axis.stride + axis.stride) % axis.stride;
        if (first >= axis.size) continue;
        auto& [taps, offsets] = by_first[first];
        taps.push_back(tap);
        offsets.push_back((first - shift) / axis.stride);
    }
    std::map<std::pair<std::vector<int64_t>, int64_t>, Phases> by_offsets;
    for (auto& [first, found] : by_first) {
        const int64_t count = ceil_divide(axis.size - first, axis.stride);
        Phases& same = by_offsets.try_emplace({found[1], count}, Phases{found[1], count}).first->second;
        same.firsts.push_back(first);
        same.taps.push_back(std::move(found[0]));
    }
    std::vector<Phases> result;
    for (auto& [offsets, phases] : by_offsets) result.push_back(std::move(phases));
    return result;
}

// The places of some phases of planes, of rows and of columns.
struct PhaseBlock {
    Phases planes, rows, columns;

    int64_t taps() const {
        return static_cast<int64_t>(planes.offsets.size() * rows.offsets.size() * columns.offsets.size());
    }
    int64_t places() const { return planes.count * rows.count * columns.count; }
    int64_t phase_count() const {
        return static_cast<int64_t>(planes.firsts.size() * rows.firsts.size() * columns.firsts.size());
    }
};

// Values of one tap at `n` places from number `first` on: 0 outside of x.
void gather(const mil::ConvWindow& w, const PhaseBlock& part, const half* channel, int64_t tap, int64_t first,
            int64_t n, half* line) {
    const auto across = static_cast<int64_t>(part.columns.offsets.size()),
               down = static_cast<int64_t>(part.rows.offsets.size());
    const int64_t in = part.planes.offsets[tap / across / down],
                  below = part.rows.offsets[tap / across % down], shift = part.columns.offsets[tap % across];
    const int64_t planes = w.depth().extent, rows = w.height().extent, columns = w.width().extent;
    while (n > 0) {
        const int64_t column = first % part.columns.count, of_rows = first / part.columns.count;
        const int64_t plane = of_rows / part.rows.count + in, row = of_rows % part.rows.count + below;
        const int64_t count = std::min(n, part.columns.count - column);
        const bool inside = plane >= 0 && plane < planes && row >= 0 && row < rows;
        const int64_t begin = inside ? std::clamp<int64_t>(-shift - column, 0, count) : count;
        const int64_t end = std::clamp(columns - shift - column, begin, count);
        const half* x = channel + (plane * rows + row) * columns + column + shift;
        std::fill(line, line + begin, half{0});
        std::copy(x + begin, x + end, line + begin);
        std::fill(line + end, line + count, half{0});
        line += count;
        first += count;
        n -= count;
    }
}

void pack_places(const mil::ConvWindow& w, const PhaseBlock& part, const half* x, const Panel& panel,
                 Pack pack, float* to) {
    half line[widest_tile];
    for (int64_t i = 0; i < panel.rows; ++i) {
        const int64_t channel = (panel.row + i) / part.taps(), tap = (panel.row + i) % part.taps();
        gather(w, part, x + panel.offset + channel * w.positions(), tap, panel.column, panel.columns, line);
        pack(line, 0, size(i), 1, size(panel.columns), to, size(panel.rows));
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
        const int64_t height = w.height().kernel, width = w.width().kernel;
        e.threads.parallel_for(w.in_channels, [&](int64_t output, int) {
            const half* from =
                e.at<half>(weight) + (output / outputs * inputs * outputs + output % outputs) * w.taps();
            half* to = e.at<half>(result) + output * part.phase_count() * row;
            for (const auto& in : part.planes.taps)
                for (const auto& down : part.rows.taps)
                    for (const auto& across : part.columns.taps)
                        for (int64_t input = 0; input < inputs; ++input) {
                            const half* kernel = from + input * outputs * w.taps();
                            for (const int64_t i : in)
                                for (const int64_t j : down)
                                    for (const int64_t k : across)
                                        *to++ = kernel[(i * height + j) * width + k];
                        }
        });
    });
    return result;
}

// Each number `times` times.
Buffer repeated(Lowering& l, Buffer numbers, int64_t count, int64_t times) {
    const Buffer result = l.scratch(count * times * static_cast<int64_t>(sizeof(float)));
    l.step({numbers}, {result}, [=](const Execution& e) {
        for (int64_t i = 0; i < count; ++i)
            std::fill_n(e.at<float>(result) + i * times, times, e.at<float>(numbers)[i]);
    });
    return result;
}

void add_part(Lowering& l, const mil::ConvWindow& w, const PhaseBlock& part, Buffer x, Buffer weight,
              std::optional<Buffer> bias, Buffer y) {
    const int64_t inputs = w.out_channels / w.groups, outputs = w.in_channels / w.groups;
    const int64_t inner = inputs * part.taps(), size = w.positions();
    const int64_t rows = outputs * part.phase_count();
    const auto offsets = [=](int64_t batch) {
        return std::array{batch % w.groups * rows * inner, batch * inputs * size};
    };
    const auto pack_part = [=](const Execution& e, const Panel& panel, Pack pack, float* to) {
        pack_places(w, part, e.at<half>(x), panel, pack, to);
    };
    if (bias) bias = repeated(l, *bias, w.in_channels, part.phase_count());
    add_product(l, {w.batch * w.groups, rows, inner, part.places(), offsets, pack_part, bias, true},
                weight_of(l, w, part, weight), x, y);
}

// One channel's elements of a part to their places in the result.
void scatter(const mil::ConvWindow& w, const PhaseBlock& part, const half* element, half* to) {
    const mil::WindowAxis &depth = w.depth(), &height = w.height(), &width = w.width();
    for (const int64_t front : part.planes.firsts)
        for (const int64_t top : part.rows.firsts)
            for (const int64_t left : part.columns.firsts)
                for (int64_t plane = 0; plane < part.planes.count; ++plane)
                    for (int64_t row = 0; row < part.rows.count; ++row) {
                        half* line =
                            to +
                            ((front + plane * depth.stride) * height.size + top + row * height.stride) *
                                width.size +
                            left;
                        for (int64_t column = 0; column < part.columns.count; ++column)
                            line[column * width.stride] = *element++;
                    }
}

// Puts the parts in their places, and the bias alone, or zero, where no tap meets the result.
void add_interleave(Lowering& l, const mil::ConvWindow& w, const std::vector<PhaseBlock>& parts,
                    const std::vector<Buffer>& from, std::optional<Buffer> bias, Buffer y) {
    std::vector<Buffer> reads = from;
    if (bias) reads.push_back(*bias);
    l.step(reads, {y},
           [=, rounding = l.profile().product, is_fixed = l.profile().is_engine()](const Execution& e) {
               e.threads.parallel_for(w.batch * w.in_channels, [&](int64_t channel, int) {
                   half* to = e.at<half>(y) + channel * w.inputs();
                   half rest{0};
                   if (bias) {
                       const float given = e.at<float>(*bias)[channel % w.in_channels];
                       const float start = is_fixed ? fixed_start(given) : given;
                       e.kernels.to_half(&start, &rest, 1, rounding);
                   }
                   std::fill_n(to, w.inputs(), rest);
                   for (size_t i = 0; i < parts.size(); ++i)
                       scatter(w, parts[i],
                               e.at<half>(from[i]) + channel * parts[i].phase_count() * parts[i].places(),
                               to);
               });
           });
}

}  // namespace

void lower_conv_transpose(Lowering& l, const mil::OpView& op, Results results) {
    const mil::ConvWindow w = mil::conv_transpose_window(op);
    if (!l.is_constant(op.value("weight")))
        op.refuse("weight", "'weight' must be a constant: use matmul for run-time weights");
    const auto bias = constant_bias(l, op);
    const Buffer x = l.buffer(op.value("x")), weight = l.buffer(op.value("weight")),
                 y = l.result(*results[0]);
    std::vector<PhaseBlock> parts;
    for (const Phases& planes : phases(w.depth()))
        for (const Phases& rows : phases(w.height()))
            for (const Phases& columns : phases(w.width())) parts.push_back({planes, rows, columns});
    if (std::ranges::all_of(w.axes, [](const mil::WindowAxis& axis) { return axis.stride == 1; }))
        return add_part(l, w, parts.front(), x, weight, bias, y);
    std::vector<Buffer> from;
    for (const PhaseBlock& part : parts) {
        from.push_back(l.scratch(w.batch * w.in_channels * part.phase_count() * part.places() *
                                 static_cast<int64_t>(sizeof(half))));
        add_part(l, w, part, x, weight, bias, from.back());
    }
    add_interleave(l, w, parts, from, bias, y);
}

}  // namespace ane::emulator
