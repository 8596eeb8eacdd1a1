// conv as a matrix product: weight [out, in * kernel] times the input's columns [in * kernel, positions].
#include <algorithm>

#include "../../gemm.h"
#include "../../mil/ops/windows.h"
#include "../lowering.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

constexpr int64_t tile_rows = 128;
constexpr int64_t most_columns = 512;
constexpr int64_t columns_budget = 1 << 18;  // floats of a column tile: it stays in the second-level cache
constexpr int64_t enough_tasks = 16;         // from here on, splitting output channels as well gains nothing

int64_t columns_per_tile(int64_t taps, int64_t positions) {
    const int64_t fitting = std::max<int64_t>(32, columns_budget / taps / 32 * 32);
    return std::min({most_columns, fitting, positions});
}

// One tap of the kernel over output positions [first, first + n): the input element under it, or 0 in the
// padding.
void gather_tap(const mil::ConvWindow& w, const half* channel, int64_t kernel_row, int64_t kernel_column,
                int64_t first, int64_t n, half* line) {
    for (int64_t i = 0; i < n; ++i) {
        const int64_t position = first + i;
        const int64_t row =
            position / w.out_width * w.stride_height + kernel_row * w.dilation_height - w.pad_top;
        const int64_t column =
            position % w.out_width * w.stride_width + kernel_column * w.dilation_width - w.pad_left;
        const bool inside = row >= 0 && row < w.height && column >= 0 && column < w.width;
        line[i] = inside ? channel[row * w.width + column] : half{0};
    }
}

void fill_columns(const Kernels& k, const mil::ConvWindow& w, bool pointwise, const half* x, int64_t channels,
                  int64_t first, int64_t n, float* columns) {
    half line[most_columns];
    for (int64_t channel = 0; channel < channels; ++channel) {
        const half* plane = x + channel * w.height * w.width;
        if (pointwise) {
            k.to_float(plane + first, columns, static_cast<size_t>(n));
            columns += n;
            continue;
        }
        for (int64_t row = 0; row < w.kernel_height; ++row)
            for (int64_t column = 0; column < w.kernel_width; ++column, columns += n) {
                gather_tap(w, plane, row, column, first, n, line);
                k.to_float(line, columns, static_cast<size_t>(n));
            }
    }
}

bool is_pointwise(const mil::ConvWindow& w) {
    return w.kernel_height == 1 && w.kernel_width == 1 && w.stride_height == 1 && w.stride_width == 1 &&
           w.out_height == w.height && w.out_width == w.width;
}

void check_engine_limits(Lowering& l, const mil::OpView& op, const mil::ConvWindow& w) {
    if (w.kernel_width > l.profile().max_kernel_width)
        op.refuse("weight", "the kernel is " + std::to_string(w.kernel_width) +
                                " wide; the engine takes at most " +
                                std::to_string(l.profile().max_kernel_width));
    if (l.is_constant(op.value("weight"))) return;
    if (w.batch > 1) op.refuse("weight", "run-time weights need a batch of 1: use matmul");
    l.note("conv with run-time weights is reported to ignore them on M3 Max: use matmul");
}

void lower_conv(Lowering& l, const mil::OpView& op, Results results) {
    const mil::ConvWindow w = mil::conv_window(op);
    check_engine_limits(l, op, w);
    const int64_t channels = w.in_channels / w.groups, rows = w.out_channels / w.groups;
    const int64_t taps = channels * w.kernel_height * w.kernel_width, positions = w.out_height * w.out_width;
    const int64_t columns = columns_per_tile(taps, positions), column_tiles = ceil_divide(positions, columns);
    const int64_t tasks_per_row_tile = w.batch * w.groups * column_tiles;
    const int64_t rows_per_task = tasks_per_row_tile >= enough_tasks ? rows : std::min(rows, tile_rows);
    const int64_t row_tasks = ceil_divide(rows, rows_per_task);
    const int64_t worker_floats = (taps + tile_rows) * columns;
    const bool pointwise = is_pointwise(w);
    const Rounding rounding = l.profile().product;

    const Buffer x = l.buffer(op.value("x")), weight = l.floats(op.value("weight")),
                 y = l.result(*results[0]);
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    l.step({x, weight}, {y, scratch}, [=](const Execution& e) {
        e.threads.parallel_for(tasks_per_row_tile * row_tasks, [&](int64_t task, int worker) {
            const int64_t first_row = task % row_tasks * rows_per_task,
                          first = task / row_tasks % column_tiles * columns;
            const int64_t batch_group = task / row_tasks / column_tiles, group = batch_group % w.groups;
            const int64_t n = std::min(columns, positions - first);
            float* tap_columns = e.at<float>(scratch) + worker * worker_floats;
            float* sums = tap_columns + taps * columns;
            fill_columns(e.kernels, w, pointwise, e.at<half>(x) + batch_group * channels * w.height * w.width,
                         channels, first, n, tap_columns);
            const int64_t last_row = std::min(rows, first_row + rows_per_task);
            for (int64_t row = first_row; row < last_row; row += tile_rows) {
                const int64_t m = std::min(tile_rows, last_row - row);
                gemm(Transpose::no, Transpose::no, m, n, taps, 1.0f,
                     e.at<float>(weight) + (group * rows + row) * taps, taps, tap_columns, n, 0.0f, sums, n);
                for (int64_t i = 0; i < m; ++i)
                    e.kernels.to_half(sums + i * n,
                                      e.at<half>(y) + (batch_group * rows + row + i) * positions + first,
                                      static_cast<size_t>(n), rounding);
            }
        });
    });
}

}  // namespace

std::span<const LoweringEntry> convolution_lowerings() {
    static constexpr LoweringEntry table[] = {{"conv", lower_conv}};
    return table;
}

}  // namespace ane::emulator
