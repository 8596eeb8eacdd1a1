// Why: a matrix product is limited by memory unless operands are reused from caches. The right operand is
// packed into panels of whole strips, the order in which the SIMD kernel reads it, and a panel stays in the
// second-level cache while all rows of a tile are multiplied with it. The sums of a block of rows stay in
// registers. A panel of small products is packed by the worker that needs it; of large ones each panel is
// packed once for all workers. With one or two rows packing costs more than it saves, so the right operand
// is read in place.
//
// On the engine's profiles the sums are the engine's own: integers in units of 2^-16. Rows whose products or
// sums may be too large for the quick kernel, by bounds that are taken first, are summed once more, in a
// wider one.
#include "product_tiles.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace ane::emulator {

namespace {

constexpr int64_t narrowest_tile = 64;       // below, each element of x that becomes fp32 serves too few sums
constexpr int64_t panel_budget = 1 << 17;    // floats: a tile's panel stays in the second-level cache
constexpr int64_t operand_budget = 1 << 21;  // floats: a whole right operand stays in the last-level cache
constexpr int64_t narrowest_direct_tile = 128;  // rows of y read in longer chunks
constexpr int64_t most_direct_rows = 2;         // a panel would cost more than it gains
constexpr double least_task = 1 << 17;          // multiplications that are worth handing to another thread

constexpr int64_t floats_of_wide_sum = sizeof(WideSum) / sizeof(float);
constexpr float overflow = 32768.0f;  // magnitudes from here on are infinite on the engine
constexpr int64_t bound_pieces = 64;  // of the right operand, each with its largest magnitude

// Ties go away from zero. Beyond the engine's range the value does not count.
int64_t in_units(float bias) { return std::abs(bias) < overflow ? std::llround(double{bias} * 0x1p16) : 0; }

// The engine's sums need these beforehand.
struct FixedPoint {
    Buffer rows;                       // the bounds of each row of the left operand
    Buffer largest;                    // the largest magnitude in each piece of the right operand
    std::optional<Buffer> start = {};  // the bias in units of 2^-16
};

// The tiles of one product. Sizes depend on the shapes alone.
class Tiles {
   public:
    Tiles(const Product& product, const Kernels& kernels, std::optional<FixedPoint> fixed)
        : p_(product),
          fixed_(fixed),
          block_rows_(static_cast<int64_t>(fixed ? kernels.fixed_products->rows : kernels.products->rows)),
          strip_(static_cast<int64_t>(fixed ? kernels.fixed_products->strip : kernels.products->strip)) {
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
        left_floats_ =
            padded((fixed_ ? 2 * (block_rows_ + 1) : block_rows_) * std::min(p_.inner, block_depth));
        panel_floats_ = is_direct() || packs_first_
                            ? 0
                            : (keeps_panel_ ? p_.inner : std::min(p_.inner, block_depth)) * width(columns_);
    }

    // True if panels are packed once, by all workers, before the tiles that share them are computed: where a
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
        return padded(wide_floats() + left_floats_ + panel_floats_ +
                      (in_one_block() ? block_rows_ : rows_) * columns_);
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
                    {e.at<half>(x) + at_x, e.at<half>(y), at_y, first_row, task % row_tiles() * rows_,
                     wanted.column, has_panel, e.at<float>(scratch) + worker * floats(),
                     operand ? e.at<float>(*operand) + batch * batch_floats() : nullptr,
                     e.threads.size() * rows_},
                    [&](float* sums, int64_t row, int64_t n) {
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
        int64_t y_offset;
        int64_t first_row;  // of the batch's, among the rows of all of x
        int64_t row, column;
        bool has_panel;
        float* memory;
        float* operand;      // of the batch, if it is packed
        int64_t rows_ahead;  // of those that other workers are likely to be at
    };

    template <typename Finish>
    void compute(const Execution& e, const Tile& tile, const Finish& finish) const {
        float* left = tile.memory + wide_floats();
        float* sums = left + left_floats_ + panel_floats_;
        const int64_t end = std::min(p_.rows, tile.row + rows_),
                      n = std::min(columns_, p_.columns - tile.column);
        const float largest = fixed_ ? largest_right(e) : 0;
        std::array<bool, tallest_tile> is_wide = {};  // by block of rows
        for (int64_t row = tile.row; fixed_ && row < end; row += block_rows_)
            is_wide[size((row - tile.row) / block_rows_)] =
                !is_bounded(e, tile, largest, row, std::min(end, row + block_rows_));
        for (int64_t k = 0; k < p_.inner; k += block_depth) {
            const Panel part = part_of(tile, k, n);
            const bool last = k + part.rows == p_.inner;
            float* panel = panel_of(tile, part);
            if (!is_direct() && !tile.operand && !tile.has_panel) pack(e, tile.y, part, panel);
            for (int64_t row = tile.row; row < end; row += block_rows_) {
                if (is_wide[size((row - tile.row) / block_rows_)]) continue;
                const int64_t m = std::min(block_rows_, end - row);
                float* c = sums + (in_one_block() ? 0 : (row - tile.row) * columns_);
                if (fixed_)
                    add_fixed(e, tile, part, largest, row, m, left, panel, c);
                else
                    add_floats(e, tile, part, row, m, left, panel, c);
                for (int64_t i = 0; last && i < m; ++i) {
                    add_bias(e, tile, row + i, c + i * columns_, n);
                    finish(c + i * columns_, row + i, n);
                }
            }
        }
        for (int64_t row = tile.row; row < end; ++row) {
            if (!is_wide[size((row - tile.row) / block_rows_)]) continue;
            sum_wide(e, tile, row, n, sums);
            finish(sums, row, n);
        }
    }

    Panel part_of(const Tile& tile, int64_t k, int64_t n) const {
        return {tile.y_offset, k, std::min(block_depth, p_.inner - k), tile.column, n};
    }

    float* panel_of(const Tile& tile, const Panel& part) const {
        return tile.operand ? tile.operand + at_panel(part)
                            : tile.memory + wide_floats() + left_floats_ +
                                  (keeps_panel_ ? part.row * width(columns_) : 0);
    }

    // c = m rows of x from `row` on, times a part of y; added to c but for the first part.
    void add_floats(const Execution& e, const Tile& tile, const Panel& part, int64_t row, int64_t m,
                    float* left, const float* panel, float* c) const {
        const ProductKernels& kernels = *e.kernels.products;
        const half* x = tile.x + row * p_.inner + part.row;
        const int64_t depth = part.rows, n = part.columns;
        const bool first = part.row == 0;
        if (in_one_block())
            e.kernels.to_float(x, left, size(m * depth));
        else
            for (int64_t i = 0; i < m; ++i)
                e.kernels.to_float(x + i * p_.inner, left + i * depth, size(depth));
        if (is_direct()) {
            for (int64_t i = 0; i < m; ++i)
                kernels.multiply_row(left + i * depth, element(tile.y, part), size(p_.columns), size(depth),
                                     size(n), c + i * columns_, !first);
        } else {
            const bool is_more_ahead = row + tile.rows_ahead + m <= p_.rows;
            kernels.multiply(left, size(depth), size(m), panel, size(depth), size(n), c, size(columns_),
                             !first, is_more_ahead ? x + tile.rows_ahead * p_.inner : x, size(p_.inner));
        }
    }

    // The same in integers.
    void add_fixed(const Execution& e, const Tile& tile, const Panel& part, float largest, int64_t row,
                   int64_t m, float* left, const float* panel, float* c) const {
        const FixedProductKernels& kernels = *e.kernels.fixed_products;
        kernels.prepare(tile.x + row * p_.inner + part.row, size(p_.inner), size(m), size(part.rows), left);
        kernels.multiply(left, size(m), panel, largest, size(part.rows), size(part.columns),
                         reinterpret_cast<int32_t*>(c), size(columns_), part.row > 0);
    }

    float largest_right(const Execution& e) const {
        const float* pieces = e.at<float>(fixed_->largest);
        return *std::max_element(pieces, pieces + bound_pieces);
    }

    // True if no product and no sum of these rows can be too large, in any order.
    bool is_bounded(const Execution& e, const Tile& tile, float largest, int64_t row, int64_t end) const {
        const float limit = e.kernels.fixed_products->largest_product;
        const float bias = largest_bias(e, tile, row, end);
        // Rounding moves a product by half a unit, and this bound in fp32 by less than a hundredth.
        const float roundings = static_cast<float>(p_.inner) * 0x1p-17f;
        return std::all_of(e.at<Bounds>(fixed_->rows) + tile.first_row + row,
                           e.at<Bounds>(fixed_->rows) + tile.first_row + end, [&](const Bounds& x) {
                               return x.largest * largest < limit &&
                                      x.sum * largest * 1.01f + roundings + bias < overflow - 1;
                           });
    }

    float largest_bias(const Execution& e, const Tile& tile, int64_t row, int64_t end) const {
        if (!p_.bias) return 0;
        const int64_t first = p_.bias_is_of_rows ? tile.first_row + row : tile.column;
        const int64_t count = p_.bias_is_of_rows ? end - row : std::min(columns_, p_.columns - tile.column);
        const float* bias = e.at<float>(*p_.bias) + first;
        return std::accumulate(bias, bias + count, 0.0f,
                               [](float largest, float b) { return std::max(largest, std::abs(b)); });
    }

    // One row in wide sums. A panel that is not kept is packed again.
    void sum_wide(const Execution& e, const Tile& tile, int64_t row, int64_t n, float* c) const {
        auto* sums = reinterpret_cast<WideSum*>(tile.memory);
        for (int64_t j = 0; j < n; ++j) sums[j] = wide_bias(e, tile, row, j);
        for (int64_t k = 0; k < p_.inner; k += block_depth) {
            const Panel part = part_of(tile, k, n);
            float* panel = panel_of(tile, part);
            if (!tile.operand && !keeps_panel_) pack(e, tile.y, part, panel);
            e.kernels.fixed_products->sum_wide(tile.x + row * p_.inner + k, size(part.rows), panel, size(n),
                                               sums);
        }
        e.kernels.fixed_products->finish_wide(sums, c, size(n));
    }

    // `n` sums of a row, from the tile's first column on.
    void add_bias(const Execution& e, const Tile& tile, int64_t row, float* sums, int64_t n) const {
        const int64_t at = p_.bias_is_of_rows ? tile.first_row + row : tile.column;
        if (fixed_) {
            constexpr int32_t none = 0;
            const Elements<int32_t> start =
                fixed_->start ? Elements<int32_t>(e.at<int32_t>(*fixed_->start) + at, !p_.bias_is_of_rows)
                              : Elements<int32_t>(&none, 0);
            return e.kernels.fixed_products->finish(reinterpret_cast<int32_t*>(sums), start, size(n));
        }
        if (!p_.bias) return;
        const float* bias = e.at<float>(*p_.bias) + at;
        e.kernels.binary(Binary::add, sums, {bias, !p_.bias_is_of_rows}, sums, size(n));
    }

    WideSum wide_bias(const Execution& e, const Tile& tile, int64_t row, int64_t column) const {
        if (!p_.bias) return {};
        const int64_t at = p_.bias_is_of_rows ? tile.first_row + row : tile.column + column;
        const float bias = e.at<float>(*p_.bias)[at];
        return {in_units(bias), bias >= overflow, bias <= -overflow};
    }

    void pack(const Execution& e, const half* y, const Panel& part, float* panel) const {
        const Pack pack = fixed_ ? e.kernels.fixed_products->pack : e.kernels.products->pack;
        if (p_.pack) return p_.pack(e, part, pack, panel);
        pack(element(y, part), size(p_.columns), 0, size(part.rows), size(part.columns), panel,
             size(part.rows));
    }

    // Where a part of y begins, y being a matrix in memory.
    const half* element(const half* y, const Panel& part) const {
        return y + part.offset + part.row * p_.columns + part.column;
    }

    // Where a panel begins among those of its batch.
    int64_t at_panel(const Panel& part) const {
        return part.row * width(p_.columns) + width(part.column) * part.rows;
    }
    // Floats in a row of a panel.
    int64_t width(int64_t columns) const { return padded(columns) / strip_ * (strip_ + (fixed_ ? 1 : 0)); }
    int64_t batch_floats() const { return p_.inner * width(p_.columns); }
    int64_t wide_floats() const { return fixed_ ? columns_ * floats_of_wide_sum : 0; }
    int64_t in_blocks(int64_t rows) const { return ceil_divide(rows, block_rows_) * block_rows_; }
    int64_t row_tiles() const { return ceil_divide(p_.rows, rows_); }
    int64_t column_tiles() const { return ceil_divide(p_.columns, columns_); }
    bool in_one_block() const { return p_.inner <= block_depth; }
    bool is_direct() const { return !fixed_ && !p_.pack && p_.rows <= most_direct_rows; }

    Product p_;
    std::optional<FixedPoint> fixed_;
    int64_t block_rows_, strip_;  // of the sums in registers, and of a panel
    int64_t rows_, columns_;      // of a tile
    bool keeps_panel_, packs_first_;
    int64_t left_floats_, panel_floats_;
};

FixedPoint add_bounds(Lowering& l, const Product& product, Buffer x, Buffer y) {
    const int64_t inner = product.inner, rows = l.bytes(x) / static_cast<int64_t>(sizeof(half)) / inner;
    const int64_t count = l.bytes(y) / static_cast<int64_t>(sizeof(half));
    FixedPoint fixed{l.scratch(rows * static_cast<int64_t>(sizeof(Bounds))),
                     l.scratch(bound_pieces * static_cast<int64_t>(sizeof(float)))};
    l.step({x}, {fixed.rows}, [=](const Execution& e) {
        constexpr int64_t at_once = 16;
        e.threads.parallel_for(ceil_divide(rows, at_once), [&](int64_t task, int) {
            for (int64_t row = task * at_once; row < std::min(rows, (task + 1) * at_once); ++row)
                e.at<Bounds>(fixed.rows)[row] =
                    e.kernels.fixed_products->bounds(e.at<half>(x) + row * inner, size(inner));
        });
    });
    l.step({y}, {fixed.largest}, [=](const Execution& e) {
        const int64_t piece = ceil_divide(count, bound_pieces);
        e.threads.parallel_for(bound_pieces, [&](int64_t task, int) {
            const int64_t first = std::min(count, task * piece);
            e.at<float>(fixed.largest)[task] =
                e.kernels.fixed_products->bounds(e.at<half>(y) + first, size(std::min(piece, count - first)))
                    .largest;
        });
    });
    if (!product.bias) return fixed;
    const auto biases = l.bytes(*product.bias) / static_cast<int64_t>(sizeof(float));
    fixed.start = l.scratch(biases * static_cast<int64_t>(sizeof(int32_t)));
    l.step({*product.bias}, {*fixed.start}, [=, bias = *product.bias](const Execution& e) {
        std::transform(e.at<float>(bias), e.at<float>(bias) + biases, e.at<int32_t>(*fixed.start),
                       [](float b) { return static_cast<int32_t>(in_units(b)); });
    });
    return fixed;
}

}  // namespace

float fixed_start(float bias) {
    return std::abs(bias) < overflow ? static_cast<float>(in_units(bias)) * 0x1p-16f
                                     : std::copysign(std::numeric_limits<float>::infinity(), bias);
}

void add_product(Lowering& l, const Product& product, Buffer x, Buffer y, Buffer z) {
    std::optional<FixedPoint> fixed;
    if (l.profile().is_engine()) fixed = add_bounds(l, product, x, y);
    const Tiles tiles(product, l.kernels(), fixed);
    const Buffer scratch = l.scratch(l.workers() * tiles.floats() * static_cast<int64_t>(sizeof(float)));
    std::optional<Buffer> operand;
    if (tiles.packs_first()) {
        operand = l.scratch(tiles.operand_floats() * static_cast<int64_t>(sizeof(float)));
        l.step({y}, {*operand}, [=](const Execution& e) { tiles.pack_all(e, y, *operand); });
    }
    std::vector<Buffer> reads = {x, operand.value_or(y)};  // y's memory is free once packed
    if (product.bias) reads.push_back(*product.bias);
    if (fixed) reads.insert(reads.end(), {fixed->rows, fixed->largest});
    if (fixed && fixed->start) reads.push_back(*fixed->start);
    l.step(reads, {z, scratch}, [=, rounding = l.profile().product](const Execution& e) {
        tiles.run(e, x, y, z, scratch, operand, rounding);
    });
}

void add_linear(Lowering& l, Buffer x, int64_t rows, int64_t inputs, int64_t outputs, Buffer weight,
                std::optional<Buffer> bias, Buffer z) {
    const auto offsets = [](int64_t) { return std::array<int64_t, 2>{}; };
    add_product(l, {1, rows, inputs, outputs, offsets, {}, bias}, x,
                transposed(l, {weight, 0, inputs}, 1, outputs, inputs), z);
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
            k.products->pack(right, size(columns), 0, size(terms), size(n), panel, size(terms));
            k.products->multiply(x + first, size(x_stride), size(rows), panel, size(terms), size(n),
                                 z + column, size(z_stride), first > 0, right, 0);
        }
    }
}

Buffer transposed(Lowering& l, const Rows& x, int64_t matrices, int64_t rows, int64_t columns) {
    constexpr int64_t rows_per_task = 64;  // of x: whole cache lines of y
    if ((rows == 1 || columns == 1) && x.pitch == columns) return x.buffer;
    const Buffer y = l.scratch(matrices * rows * columns * static_cast<int64_t>(sizeof(half)));
    const int64_t tasks = ceil_divide(rows, rows_per_task);
    l.step({x.buffer}, {y}, [=](const Execution& e) {
        e.threads.parallel_for(matrices * tasks, [&](int64_t task, int) {
            const int64_t matrix = task / tasks * rows, row = task % tasks * rows_per_task;
            e.kernels.products->transpose(e.at<half>(x.buffer) + x.offset + (matrix + row) * x.pitch,
                                          size(x.pitch), size(std::min(rows_per_task, rows - row)),
                                          size(columns), e.at<half>(y) + matrix * columns + row, size(rows));
        });
    });
    return y;
}

}  // namespace ane::emulator
