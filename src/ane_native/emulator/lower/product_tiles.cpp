// Why: a matrix product is limited by memory unless operands are reused from caches. The right operand is
// packed into panels of whole strips, the order in which the SIMD kernel reads it, and a panel stays in the
// second-level cache while all rows of a tile are multiplied with it. The sums of a block of rows stay in
// registers. A panel of small products is packed by the worker that needs it; of large ones each panel is
// packed once for all workers. With one or two rows packing costs more than it saves, so the right operand
// is read in place.
#include "product_tiles.h"

#include <algorithm>

namespace ane::emulator {

namespace {

constexpr int64_t narrowest_tile = 64;       // below, each element of x that becomes fp32 serves too few sums
constexpr int64_t panel_budget = 1 << 17;    // floats: a tile's panel stays in the second-level cache
constexpr int64_t operand_budget = 1 << 21;  // floats: a whole right operand stays in the last-level cache
constexpr int64_t narrowest_direct_tile = 128;  // rows of y read in longer chunks
constexpr int64_t most_direct_rows = 2;         // a panel would cost more than it gains
constexpr double least_task = 1 << 17;          // multiplications that are worth handing to another thread

// The tiles of one product. Sizes depend on the shapes alone.
class Tiles {
   public:
    Tiles(const Product& product, const Kernels& kernels)
        : p_(product), block_rows_(static_cast<int64_t>(kernels.products->rows)) {
        rows_ = in_blocks(std::min(p_.rows, tallest_tile));
        columns_ = std::min(padded(p_.columns), widest_tile);
        keeps_panel_ = p_.inner * columns_ <= panel_budget;
        packs_first_ = !keeps_panel_ && !is_direct() && p_.rows > narrowest_tile &&
                       p_.batches * p_.inner * padded(p_.columns) <= operand_budget;
        const double work = static_cast<double>(p_.batches) * static_cast<double>(in_blocks(p_.rows)) *
                            static_cast<double>(p_.inner) * static_cast<double>(p_.columns);
        const auto wanted = static_cast<int64_t>(std::clamp<double>(work / least_task, 1, enough_tasks));
        while (count() < wanted && rows_ > (keeps_panel_ || packs_first_ ? 2 * block_rows_ : narrowest_tile))
            rows_ = in_blocks(rows_ / 2);
        while (count() < wanted && columns_ > (is_direct() ? narrowest_direct_tile : narrowest_tile))
            columns_ = padded(columns_ / 2);
        while (count() < wanted && rows_ > block_rows_) rows_ = in_blocks(rows_ / 2);
        left_floats_ = padded(block_rows_ * std::min(p_.inner, block_depth));
        panel_floats_ = is_direct() || packs_first_
                            ? 0
                            : (keeps_panel_ ? p_.inner : std::min(p_.inner, block_depth)) * columns_;
    }

    // Whether panels are packed once, by all workers, before the tiles that share them are computed: where a
    // worker cannot keep one, each tile would pack its own.
    bool packs_first() const { return packs_first_; }

    // The size of all panels: for each batch, chunks of rows, each in whole strips.
    int64_t operand_floats() const { return packs_first_ ? p_.batches * batch_floats() : 0; }

    void pack_all(const Execution& e, Buffer y, Buffer operand) const {
        const int64_t depths = ceil_divide(p_.inner, block_depth),
                      groups = ceil_divide(p_.columns, narrowest_tile);
        e.threads.parallel_for(p_.batches * depths * groups, [&](int64_t task, int) {
            const int64_t batch = task / groups / depths, k = task / groups % depths * block_depth,
                          column = task % groups * narrowest_tile;
            const Panel part{p_.offsets(batch)[1], k, std::min(block_depth, p_.inner - k), column,
                             std::min(narrowest_tile, p_.columns - column)};
            pack(e, e.at<half>(y), part, e.at<float>(operand) + batch * batch_floats() + at_panel(part));
        });
    }

    int64_t count() const { return p_.batches * row_tiles() * column_tiles(); }

    // Floats of scratch memory for each worker.
    int64_t floats() const {
        return left_floats_ + panel_floats_ + (in_one_block() ? block_rows_ : rows_) * columns_;
    }

    void run(const Execution& e, Buffer x, Buffer y, Buffer z, Buffer scratch, std::optional<Buffer> operand,
             Rounding rounding) const {
        std::array<Packed, ThreadPool::max_size> packed;
        std::fill_n(packed.begin(), e.threads.size(), Packed{-1, -1});
        e.threads.parallel_for(count(), [&](int64_t task, int worker) {
            const int64_t batch = task / row_tiles() / column_tiles();
            const auto [at_x, at_y] = p_.offsets(batch);
            const int64_t first_row = at_x / p_.inner;
            const Packed wanted{at_y, task / row_tiles() % column_tiles() * columns_};
            const bool has_panel = keeps_panel_ && packed[worker] == wanted;
            packed[worker] = wanted;
            compute(e,
                    {e.at<half>(x) + at_x, e.at<half>(y), at_y, task % row_tiles() * rows_, wanted.column,
                     has_panel, e.at<float>(scratch) + worker * floats(),
                     operand ? e.at<float>(*operand) + batch * batch_floats() : nullptr,
                     e.threads.size() * rows_},
                    [&](float* sums, int64_t row, int64_t n) {
                        add_bias(e, first_row + row, wanted.column, sums, n);
                        e.kernels.to_half(
                            sums, e.at<half>(z) + (batch * p_.rows + row) * p_.columns + wanted.column,
                            size(n), rounding);
                    });
        });
    }

   private:
    // The panel that a worker holds. A panel of full depth is reused for all tiles of its columns that the
    // worker gets.
    struct Packed {
        int64_t offset, column;
        bool operator==(const Packed&) const = default;
    };

    struct Tile {
        const half *x, *y;
        int64_t y_offset, row, column;
        bool has_panel;
        float* memory;
        float* operand;      // of the batch, if it is packed
        int64_t rows_ahead;  // of those that other workers are likely to be at
    };

    template <typename Finish>
    void compute(const Execution& e, const Tile& tile, const Finish& finish) const {
        const ProductKernels& kernels = *e.kernels.products;
        float* left = tile.memory;
        float* sums = left + left_floats_ + panel_floats_;
        const int64_t end = std::min(p_.rows, tile.row + rows_),
                      n = std::min(columns_, p_.columns - tile.column);
        for (int64_t k = 0; k < p_.inner; k += block_depth) {
            const int64_t depth = std::min(block_depth, p_.inner - k);
            const bool first = k == 0, last = k + depth == p_.inner;
            const Panel part{tile.y_offset, k, depth, tile.column, n};
            float* panel = tile.operand ? tile.operand + at_panel(part)
                                        : left + left_floats_ + (keeps_panel_ ? k * columns_ : 0);
            if (!is_direct() && !tile.operand && !tile.has_panel) pack(e, tile.y, part, panel);
            for (int64_t row = tile.row; row < end; row += block_rows_) {
                const int64_t m = std::min(block_rows_, end - row);
                const half* x = tile.x + row * p_.inner + k;
                if (in_one_block())
                    e.kernels.to_float(x, left, size(m * depth));
                else
                    for (int64_t i = 0; i < m; ++i)
                        e.kernels.to_float(x + i * p_.inner, left + i * depth, size(depth));
                float* c = sums + (in_one_block() ? 0 : (row - tile.row) * columns_);
                if (is_direct()) {
                    for (int64_t i = 0; i < m; ++i)
                        kernels.multiply_row(left + i * depth, element(tile.y, part), size(p_.columns),
                                             size(depth), size(n), c + i * columns_, !first);
                } else {
                    const bool is_more_ahead = row + tile.rows_ahead + m <= p_.rows;
                    kernels.multiply(left, size(depth), size(m), panel, size(depth), size(n), c,
                                     size(columns_), !first,
                                     is_more_ahead ? x + tile.rows_ahead * p_.inner : x, size(p_.inner));
                }
                for (int64_t i = 0; last && i < m; ++i) finish(c + i * columns_, row + i, n);
            }
        }
    }

    // `n` sums of a row of all of x, from a column on.
    void add_bias(const Execution& e, int64_t row, int64_t column, float* sums, int64_t n) const {
        if (!p_.bias) return;
        const float* bias = e.at<float>(*p_.bias);
        if (p_.bias_is_of_rows)
            e.kernels.binary_scalar(Binary::add, sums, bias[row], sums, size(n));
        else
            e.kernels.binary(Binary::add, sums, bias + column, sums, size(n));
    }

    void pack(const Execution& e, const half* y, const Panel& part, float* panel) const {
        if (p_.pack) return p_.pack(e, part, panel);
        e.kernels.products->pack(element(y, part), size(p_.columns), size(part.rows), size(part.columns),
                                 panel, size(part.rows));
    }

    // Where a part of y begins, y being a matrix in memory.
    const half* element(const half* y, const Panel& part) const {
        return y + part.offset + part.row * p_.columns + part.column;
    }

    // Where a panel begins among those of its batch.
    int64_t at_panel(const Panel& part) const {
        return part.row * padded(p_.columns) + part.column * part.rows;
    }
    int64_t batch_floats() const { return p_.inner * padded(p_.columns); }
    int64_t in_blocks(int64_t rows) const { return ceil_divide(rows, block_rows_) * block_rows_; }
    int64_t row_tiles() const { return ceil_divide(p_.rows, rows_); }
    int64_t column_tiles() const { return ceil_divide(p_.columns, columns_); }
    bool in_one_block() const { return p_.inner <= block_depth; }
    bool is_direct() const { return !p_.pack && p_.rows <= most_direct_rows; }

    Product p_;
    int64_t block_rows_, rows_, columns_;  // of the sums in registers, and of a tile
    bool keeps_panel_, packs_first_;
    int64_t left_floats_, panel_floats_;
};

}  // namespace

void add_product(Lowering& l, const Product& product, Buffer x, Buffer y, Buffer z) {
    const Tiles tiles(product, l.kernels());
    const Buffer scratch = l.scratch(l.workers() * tiles.floats() * static_cast<int64_t>(sizeof(float)));
    std::optional<Buffer> operand;
    if (tiles.packs_first()) {
        operand = l.scratch(tiles.operand_floats() * static_cast<int64_t>(sizeof(float)));
        l.step({y}, {*operand}, [=](const Execution& e) { tiles.pack_all(e, y, *operand); });
    }
    std::vector<Buffer> reads = {x, operand.value_or(y)};  // y's memory is free once packed
    if (product.bias) reads.push_back(*product.bias);
    l.step(reads, {z, scratch}, [=, rounding = l.profile().product](const Execution& e) {
        tiles.run(e, x, y, z, scratch, operand, rounding);
    });
}

void add_linear(Lowering& l, Buffer x, int64_t rows, int64_t inputs, int64_t outputs, Buffer weight,
                std::optional<Buffer> bias, Buffer z) {
    const auto offsets = [](int64_t) { return std::array<int64_t, 2>{}; };
    add_product(l, {1, rows, inputs, outputs, offsets, {}, bias}, x,
                transposed(l, weight, 1, outputs, inputs), z);
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
            const half* right = y + first * columns + column;
            k.products->pack(right, size(columns), size(terms), size(n), panel, size(terms));
            k.products->multiply(x + first, size(x_stride), size(rows), panel, size(terms), size(n),
                                 z + column, size(z_stride), first > 0, right, 0);
        }
    }
}

Buffer transposed(Lowering& l, Buffer x, int64_t matrices, int64_t rows, int64_t columns) {
    constexpr int64_t rows_per_task = 64;  // of x: whole cache lines of y
    if (rows == 1 || columns == 1) return x;
    const Buffer y = l.scratch(matrices * rows * columns * static_cast<int64_t>(sizeof(half)));
    const int64_t tasks = ceil_divide(rows, rows_per_task);
    l.step({x}, {y}, [=](const Execution& e) {
        e.threads.parallel_for(matrices * tasks, [&](int64_t task, int) {
            const int64_t matrix = task / tasks * rows * columns, row = task % tasks * rows_per_task;
            e.kernels.products->transpose(e.at<half>(x) + matrix + row * columns, size(columns),
                                          size(std::min(rows_per_task, rows - row)), size(columns),
                                          e.at<half>(y) + matrix + row, size(rows));
        });
    });
    return y;
}

}  // namespace ane::emulator
