// conv as a matrix product: weight [out, in * kernel] times the input's columns [in * kernel, positions].
#include <algorithm>
#include <array>

#include "convolution.h"
#include "integer_product.h"
#include "mil/ops/window_shape.h"
#include "product_tiles.h"
#include "taps.h"
#include "winograd.h"

namespace ane::emulator {

namespace {

// Rows of the panel are taps, channel by channel: packed from their gathered elements, without an im2col
// matrix.
void pack_taps(const mil::ConvWindow& w, const half* x, const Panel& panel, Pack pack, float* to) {
    half line[widest_tile];
    const int64_t taps = w.taps();
    for (int64_t i = 0; i < panel.rows; ++i) {
        const int64_t channel = (panel.row + i) / taps, tap = (panel.row + i) % taps;
        gather_tap(w, x + panel.offset + channel * w.inputs(), tap, panel.column, panel.columns, half{0},
                   line);
        pack(line, 0, size(i), 1, size(panel.columns), to, size(panel.rows));
    }
}

void pack_taps(const Kernels& k, const mil::ConvWindow& w, const uint8_t* x, const IntegerPanel& panel,
               uint8_t zero, uint8_t* to) {
    constexpr int64_t at_once = 4;
    uint8_t lines[at_once][widest_tile];
    const int64_t taps = w.taps(), rows = w.in_channels / w.groups * taps;
    for (int64_t first = 0; first < rows; first += at_once) {
        const int64_t n = std::min(at_once, rows - first);
        for (int64_t i = 0; i < n; ++i)
            gather_tap(w, x + panel.offset + (first + i) / taps * w.inputs(), (first + i) % taps,
                       panel.column, panel.columns, zero, lines[i]);
        k.integers->pack(lines[0], widest_tile, static_cast<size_t>(n), static_cast<size_t>(panel.columns),
                         panel.flip, to + first * static_cast<int64_t>(k.integers->strip),
                         static_cast<size_t>(panel.depth));
    }
}

bool is_pointwise(const mil::ConvWindow& w) {
    return std::ranges::all_of(w.axes, [](const mil::WindowAxis& axis) {
        return axis.kernel == 1 && axis.stride == 1 && axis.extent == axis.size;
    });
}

void check_engine_limits(Lowering& l, const mil::OpView& op, const mil::ConvWindow& w) {
    if (l.is_constant(op.value("weight"))) return;
    if (w.batch > 1) op.refuse("weight", "run-time weights need a batch of 1: use matmul");
    l.note("conv with run-time weights is reported to ignore them on M3 Max: use matmul");
}

}  // namespace

std::optional<Buffer> constant_bias(Lowering& l, const mil::OpView& op) {
    if (!op.has("bias")) return std::nullopt;
    if (!l.is_constant(op.value("bias")))
        op.refuse("bias", "'bias' must be a constant: add a run-time one with add");
    return l.floats(op.value("bias"));
}

void lower_conv(Lowering& l, const mil::OpView& op, Results results) {
    const mil::ConvWindow w = mil::conv_window(op);
    check_engine_limits(l, op, w);
    const int64_t channels = w.in_channels / w.groups, rows = w.out_channels / w.groups;
    const int64_t taps = channels * w.taps(), inputs = w.inputs(), positions = w.positions();
    const bool pointwise = is_pointwise(w);
    const auto bias = constant_bias(l, op);
    const auto operands = [=](int64_t batch) {
        return std::array{batch % w.groups, batch * channels * inputs};
    };
    if (const auto integers = integer_operands(l, op.value("x"), op.value("weight"), 0, taps)) {
        IntegerProduct product{w.batch * w.groups, rows, taps, positions, operands, taps, 1};
        if (!pointwise)
            product.pack = [=, x = l.buffer(*integers->x),
                            zero = static_cast<uint8_t>(static_cast<int>(integers->x_affine.zero_point[0]))](
                               const Execution& e, const IntegerPanel& panel, uint8_t* to) {
                pack_taps(e.kernels, w, e.at<uint8_t>(x), panel, zero, to);
            };
        return add_integer_product(l, product, *integers, bias, *results[0]);
    }
    const Buffer x = l.buffer(op.value("x"));
    const auto scaled = bias ? std::nullopt : scaled_codes(l, op.value("x"), op.value("weight"));
    const Buffer weight = scaled ? scaled->codes : l.buffer(op.value("weight"));
    const mil::Operation* producer = l.producer(op.value("weight"));
    const bool is_sparse = producer && producer->op == "constexpr_sparse_to_dense";
    if (!scaled && l.profile().transforms_kernels_of_3 && l.is_constant(op.value("weight")) && !is_sparse &&
        takes_winograd(w))
        return add_winograd(l, w, x, weight, bias, l.result(*results[0]));
    // A single position: the outputs, not the positions, fill the vectors.
    if (!scaled && pointwise && positions == 1 && w.groups == 1 && l.is_constant(op.value("weight")))
        return add_linear(l, x, w.batch, channels, rows, weight, bias, l.result(*results[0]));
    Product product{w.batch * w.groups,
                    rows,
                    taps,
                    positions,
                    [=](int64_t batch) {
                        const auto [matrix, offset] = operands(batch);
                        return std::array{matrix * rows * taps, offset};
                    },
                    {},
                    bias,
                    true};
    if (!pointwise)
        product.pack = [=](const Execution& e, const Panel& panel, Pack pack, float* to) {
            pack_taps(w, e.at<half>(x), panel, pack, to);
        };
    const Buffer sums = scaled ? l.scratch(results[0]->type.bytes()) : l.result(*results[0]);
    add_product(l, product, weight, x, sums);
    if (scaled) add_scales(l, sums, scaled->scales, 1, *results[0]);
}

}  // namespace ane::emulator
