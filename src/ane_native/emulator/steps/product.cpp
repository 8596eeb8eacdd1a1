#include "product.h"

#include <algorithm>

namespace ane::emulator {

namespace {

constexpr int64_t tallest_tile = 256;
constexpr int64_t narrowest_tile = 64;   // below, each element of x that becomes fp32 serves too few sums
constexpr int64_t panel_budget = 1 << 17;  // floats: a tile's panel stays in the second-level cache
constexpr int64_t enough_tasks = 32;     // for a few threads of unequal speed to end together
constexpr double least_task = 1 << 17;   // multiplications that are worth handing to another thread

struct Tiling {
    int64_t rows, columns;
    bool keeps_panel;  // a panel of full depth serves all tasks of its columns that a thread runs in turn
};

Tiling choose_tiling(const Product& p, int64_t block_rows) {
    const auto in_blocks = [=](int64_t rows) { return ceil_divide(rows, block_rows) * block_rows; };
    Tiling t{in_blocks(std::min(p.rows, tallest_tile)), std::min(padded(p.columns), widest_tile), false};
    t.keeps_panel = p.inner * t.columns <= panel_budget;
    const double work = static_cast<double>(p.batches) * static_cast<double>(in_blocks(p.rows)) *
                        static_cast<double>(p.inner) * static_cast<double>(p.columns);
    const auto wanted = static_cast<int64_t>(std::clamp<double>(work / least_task, 1, enough_tasks));
    const auto tasks = [&] {
        return p.batches * ceil_divide(p.rows, t.rows) * ceil_divide(p.columns, t.columns);
    };
    while (tasks() < wanted && t.rows > (t.keeps_panel ? 2 * block_rows : narrowest_tile))
        t.rows = in_blocks(t.rows / 2);
    while (tasks() < wanted && t.columns > narrowest_tile) t.columns = padded(t.columns / 2);
    while (tasks() < wanted && t.rows > block_rows) t.rows = in_blocks(t.rows / 2);
    return t;
}

}  // namespace

void add_product(Lowering& l, const Product& p, Buffer x, Buffer y, Buffer bias, Buffer z) {
    const auto block_rows = static_cast<int64_t>(l.kernels().products->rows);
    const Tiling t = choose_tiling(p, block_rows);
    const int64_t row_tiles = ceil_divide(p.rows, t.rows), column_tiles = ceil_divide(p.columns, t.columns);
    const int64_t depth = std::min(p.inner, block_depth);
    const bool one_block = p.inner <= block_depth;
    const int64_t panel_size = (t.keeps_panel ? p.inner : depth) * t.columns;
    const int64_t sums_size = (one_block ? block_rows : t.rows) * t.columns;
    const int64_t worker_floats = padded(block_rows * depth) + panel_size + sums_size;
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    const Rounding rounding = l.profile().product;
    std::vector<Buffer> reads = {x, y};
    if (bias >= 0) reads.push_back(bias);
    l.step(reads, {z, scratch}, [=](const Execution& e) {
        const ProductKernels& kernels = *e.kernels.products;
        std::array<int64_t, ThreadPool::max_size> packed;  // the panel that each worker has: offset, column
        std::array<int64_t, ThreadPool::max_size> packed_column;
        packed.fill(-1);
        e.threads.parallel_for(p.batches * row_tiles * column_tiles, [&](int64_t task, int worker) {
            const int64_t first = task % row_tiles * t.rows, end = std::min(p.rows, first + t.rows);
            const int64_t column = task / row_tiles % column_tiles * t.columns;
            const int64_t batch = task / row_tiles / column_tiles;
            const int64_t n = std::min(t.columns, p.columns - column);
            const auto [at_x, at_y] = p.offsets(batch);
            float* left = e.at<float>(scratch) + worker * worker_floats;
            float* panel = left + padded(block_rows * depth);
            float* sums = panel + panel_size;
            const bool has_panel =
                t.keeps_panel && packed[worker] == at_y && packed_column[worker] == column;
            packed[worker] = at_y;
            packed_column[worker] = column;
            for (int64_t k = 0; k < p.inner; k += block_depth) {
                const int64_t terms = std::min(block_depth, p.inner - k);
                float* block = panel + (t.keeps_panel ? k * t.columns : 0);
                if (!has_panel) p.pack(e, {at_y, k, terms, column, n}, block);
                for (int64_t row = first; row < end; row += block_rows) {
                    const int64_t m = std::min(block_rows, end - row);
                    for (int64_t i = 0; i < m; ++i)
                        e.kernels.to_float(e.at<half>(x) + at_x + (row + i) * p.inner + k, left + i * terms,
                                           static_cast<size_t>(terms));
                    float* c = one_block ? sums : sums + (row - first) * t.columns;
                    kernels.multiply(left, static_cast<size_t>(terms), static_cast<size_t>(m), block,
                                     static_cast<size_t>(terms), static_cast<size_t>(n), c,
                                     static_cast<size_t>(t.columns), k > 0);
                    if (k + terms < p.inner) continue;
                    for (int64_t i = 0; i < m; ++i, c += t.columns) {
                        if (bias >= 0)
                            e.kernels.binary(Binary::add, c, e.at<float>(bias) + column, c,
                                             static_cast<size_t>(n));
                        e.kernels.to_half(c,
                                          e.at<half>(z) + (batch * p.rows + row + i) * p.columns + column,
                                          static_cast<size_t>(n), rounding);
                    }
                }
            }
        });
    });
}

void pack_matrix(const Kernels& k, const half* y, int64_t stride, const Panel& panel, float* to) {
    k.products->pack(y + panel.offset + panel.row * stride + panel.column, static_cast<size_t>(stride),
                     static_cast<size_t>(panel.rows), static_cast<size_t>(panel.columns), to,
                     static_cast<size_t>(panel.rows));
}

int64_t panel_floats(int64_t inner, int64_t columns) {
    return std::min(inner, block_depth) * std::min(padded(columns), widest_tile);
}

void multiply(const Kernels& k, const float* x, int64_t x_stride, int64_t rows, const half* y, int64_t inner,
              int64_t columns, float* panel, float* z, int64_t z_stride) {
    for (int64_t column = 0; column < columns; column += widest_tile) {
        const int64_t n = std::min(widest_tile, columns - column);
        for (int64_t first = 0; first < inner; first += block_depth) {
            const int64_t terms = std::min(block_depth, inner - first);
            pack_matrix(k, y, columns, {0, first, terms, column, n}, panel);
            k.products->multiply(x + first, static_cast<size_t>(x_stride), static_cast<size_t>(rows), panel,
                                 static_cast<size_t>(terms), static_cast<size_t>(n), z + column,
                                 static_cast<size_t>(z_stride), first > 0);
        }
    }
}

Buffer transposed(Lowering& l, Buffer x, int64_t matrices, int64_t rows, int64_t columns) {
    constexpr int64_t rows_per_task = 64;  // of x: what a task writes of a row of y is a few whole cache lines
    if (rows == 1 || columns == 1) return x;
    const Buffer y = l.scratch(matrices * rows * columns * static_cast<int64_t>(sizeof(half)));
    const int64_t tasks = ceil_divide(rows, rows_per_task);
    l.step({x}, {y}, [=](const Execution& e) {
        e.threads.parallel_for(matrices * tasks, [&](int64_t task, int) {
            const int64_t matrix = task / tasks * rows * columns, row = task % tasks * rows_per_task;
            e.kernels.products->transpose(
                e.at<half>(x) + matrix + row * columns, static_cast<size_t>(columns),
                static_cast<size_t>(std::min(rows_per_task, rows - row)), static_cast<size_t>(columns),
                e.at<half>(y) + matrix + row, static_cast<size_t>(rows));
        });
    });
    return y;
}

}  // namespace ane::emulator
