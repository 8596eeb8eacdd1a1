#include "integer_product.h"

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "integer_weight.h"
#include "product_tiles.h"

namespace ane::emulator {

namespace {

constexpr int64_t shortest_tile = 24;  // below, a worker packs a panel for too few rows
constexpr int64_t narrowest_integer_tile = 32;
constexpr int64_t integer_panel_budget = 1 << 19;  // bytes: a panel stays in the second-level cache
constexpr double least_integer_task = 1 << 20;     // multiplications that are worth handing to another thread

// The tiles of one product. Unlike those of fp16 they do not divide the sums: a panel is as deep as they are.
// Where a sum might exceed 32 bits, its terms are summed in chunks that cannot, and the chunks in 64 bits.
class IntegerTiles {
   public:
    IntegerTiles(Lowering& l, const IntegerProduct& product, const IntegerOperands& o,
                 std::optional<Buffer> bias, const mil::Value& z)
        : p_(product),
          chunk_(p_.inner > o.most_terms ? o.most_terms / line_bytes * line_bytes : in_lines(p_.inner)),
          chunks_(ceil_divide(p_.inner, chunk_)),
          weight_(pack_weight(l, product, o, chunk_)),
          bias_(bias),
          x_(l.buffer(*o.x)),
          flip_(encode_right(o.x->type.dtype).flip),
          is_column_(p_.columns == 1 && !p_.pack),
          numbers_(l.profile().numbers) {
        z_ = l.result(z);
        depth_ = is_column_ ? in_lines(p_.inner) : ceil_divide(p_.inner, 4) * 4;
        block_rows_ = static_cast<int64_t>(l.kernels().integers->rows);
        rows_ = std::min(p_.rows, tallest_tile);
        columns_ = std::min(padded(p_.columns), widest_tile);
        while (depth_ * columns_ > integer_panel_budget && columns_ > narrowest_integer_tile)
            columns_ = padded(columns_ / 2);
        const double work = static_cast<double>(p_.batches) * static_cast<double>(p_.rows) *
                            static_cast<double>(p_.inner) * static_cast<double>(p_.columns);
        const auto wanted =
            static_cast<int64_t>(std::clamp<double>(work / least_integer_task, 1, enough_tasks));
        while (count() < wanted && rows_ > 2 * shortest_tile) rows_ = ceil_divide(rows_, 2);
        while (count() < wanted && columns_ > narrowest_integer_tile) columns_ = padded(columns_ / 2);
        while (count() < wanted && rows_ > shortest_tile) rows_ = ceil_divide(rows_, 2);
        rows_ = ceil_divide(rows_, block_rows_) * block_rows_;
        width_ = is_column_ ? 1 : columns_;
        count_ = is_column_ ? rows_ : block_rows_ * columns_;
        panel_bytes_ = in_lines(depth_ * width_);
        sums_bytes_ = in_lines((count_ + chunks_ * width_) * static_cast<int64_t>(sizeof(int32_t)));
        totals_bytes_ = chunks_ > 1 ? in_lines(count_ * static_cast<int64_t>(sizeof(int64_t))) : 0;
        halves_bytes_ = p_.z_is_transposed && !is_column_
                            ? in_lines(rows_ * columns_ * static_cast<int64_t>(sizeof(half)))
                            : 0;
        scratch_ = l.scratch(l.workers() * bytes());
    }

    std::vector<Buffer> reads() const {
        std::vector<Buffer> buffers = {x_, weight_.bytes, weight_.start};
        if (bias_) buffers.push_back(*bias_);
        return buffers;
    }
    std::vector<Buffer> writes() const { return {z_, scratch_}; }

    void run(const Execution& e) const {
        std::array<Panel, ThreadPool::max_size> panels;
        std::fill_n(panels.begin(), e.threads.size(), Panel{-1, -1});
        e.threads.parallel_for(count(), [&](int64_t task, int worker) {
            const int64_t batch = task / row_tiles() / column_tiles(), row = task % row_tiles() * rows_;
            const int64_t column = task / row_tiles() % column_tiles() * columns_;
            const auto [matrix, offset] = p_.operands(batch);
            const Panel wanted{offset, column};
            const Tile tile{batch,
                            matrix * p_.rows,
                            row,
                            std::min(rows_, p_.rows - row),
                            column,
                            std::min(columns_, p_.columns - column),
                            e.at<uint8_t>(scratch_) + worker * bytes()};
            if (panels[worker] != wanted) pack(e, offset, tile);
            panels[worker] = wanted;
            if (is_column_)
                multiply_column(e, tile);
            else
                multiply(e, tile);
        });
    }

   private:
    // The panel that a worker holds. It is reused for all tiles of its columns that the worker gets.
    struct Panel {
        int64_t offset, column;
        bool operator==(const Panel&) const = default;
    };

    struct Tile {
        int64_t batch, matrix_row, row, rows, column, columns;
        uint8_t* memory;
    };

    int64_t count() const { return p_.batches * row_tiles() * column_tiles(); }
    int64_t row_tiles() const { return ceil_divide(p_.rows, rows_); }
    int64_t column_tiles() const { return ceil_divide(p_.columns, columns_); }
    int64_t bytes() const { return panel_bytes_ + sums_bytes_ + totals_bytes_ + halves_bytes_; }

    int32_t* sums(const Tile& tile) const { return reinterpret_cast<int32_t*>(tile.memory + panel_bytes_); }
    int32_t* column_sums(const Tile& tile, int64_t chunk) const {
        return sums(tile) + count_ + chunk * width_;
    }
    int64_t* totals(const Tile& tile) const {
        return reinterpret_cast<int64_t*>(tile.memory + panel_bytes_ + sums_bytes_);
    }

    void pack(const Execution& e, int64_t offset, const Tile& tile) const {
        const uint8_t* x = e.at<uint8_t>(x_) + offset;
        const IntegerKernels& k = *e.kernels.integers;
        if (is_column_) {
            for (int64_t i = 0; i < p_.inner; ++i) tile.memory[i] = x[i] ^ flip_;
            std::fill(tile.memory + p_.inner, tile.memory + depth_, uint8_t{0});
        } else if (p_.pack) {
            p_.pack(e, {offset, tile.column, tile.columns, depth_, flip_}, tile.memory);
        } else if (p_.x_is_transposed) {
            k.pack_transposed(x + tile.column * p_.inner, size(p_.inner), size(p_.inner), size(tile.columns),
                              flip_, tile.memory, size(depth_));
        } else {
            k.pack(x + tile.column, size(p_.columns), size(p_.inner), size(tile.columns), flip_, tile.memory,
                   size(depth_));
        }
        // Products with ones, once for all rows of the panel.
        if (weight_.is_symmetric()) return;
        constexpr int32_t none = 0;
        for (int64_t chunk = 0; chunk < chunks_; ++chunk)
            multiply_chunk(e, tile, chunk, weight_.rows, 1, &none, column_sums(tile, chunk));
    }

    // c [rows, width_] = start [rows] + a chunk of the weight's rows from `row` on, times that of the panel.
    void multiply_chunk(const Execution& e, const Tile& tile, int64_t chunk, int64_t row, int64_t rows,
                        const int32_t* start, int32_t* c) const {
        const IntegerKernels& k = *e.kernels.integers;
        const auto strip = static_cast<int64_t>(k.strip);
        const int64_t first = chunk * chunk_;
        const size_t depth = size(std::min(chunk_, depth_ - first));
        const int8_t* weight = e.at<int8_t>(weight_.bytes) + row * weight_.stride + first;
        if (is_column_)
            return k.multiply_column(weight, size(weight_.stride), size(rows), tile.memory + first, depth,
                                     start, c);
        // The parts of a chunk lie apart, one in each strip.
        const int64_t width = chunks_ == 1 ? tile.columns : strip;
        for (int64_t column = 0; column < tile.columns; column += width)
            k.multiply(weight, size(weight_.stride), size(rows),
                       tile.memory + column * depth_ + first * strip, depth,
                       size(std::min(width, tile.columns - column)), start, c + column, size(columns_));
    }

    // sums [rows, width_] of the weight's rows from `first` on. Of several chunks totals has the sums.
    void sum(const Execution& e, const Tile& tile, int64_t first, int64_t rows) const {
        const int64_t n = rows * width_;
        if (chunks_ > 1) std::fill_n(totals(tile), n, int64_t{0});
        for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
            multiply_chunk(e, tile, chunk, first, rows,
                           e.at<int32_t>(weight_.start) + chunk * weight_.rows + first, sums(tile));
            for (int64_t i = 0; i < rows; ++i)
                subtract_zero_point(tile, first + i, column_sums(tile, chunk), sums(tile) + i * width_);
            if (chunks_ > 1)
                std::transform(totals(tile), totals(tile) + n, sums(tile), totals(tile),
                               std::plus<int64_t>());
        }
    }

    void subtract_zero_point(const Tile& tile, int64_t row, const int32_t* column_sums, int32_t* sums) const {
        const uint32_t zero_point = weight_.zero_points[size(row)];
        if (zero_point == 0) return;
        for (int64_t j = 0; j < tile.columns; ++j)
            sums[j] = static_cast<int32_t>(static_cast<uint32_t>(sums[j]) -
                                           zero_point * static_cast<uint32_t>(column_sums[j]));
    }

    // z [n] = the sums from the `first` on, scaled, with the bias; those that reach 2^31 are infinite.
    void finish(const Execution& e, const Tile& tile, int64_t first, int64_t n, Elements<float> scale,
                Elements<float> bias, half* z) const {
        int32_t* x = sums(tile) + first;
        const int64_t* whole = totals(tile) + first;
        if (chunks_ > 1)
            std::transform(whole, whole + n, x, [](int64_t sum) { return static_cast<int32_t>(sum); });
        e.kernels.scale_integers(x, scale, bias, z, size(n), numbers_);
        for (int64_t j = 0; chunks_ > 1 && j < n; ++j) {
            if (std::abs(whole[j]) >> 31 != 0) z[j] = whole[j] < 0 ? half{0xfc00} : half{0x7c00};
        }
    }

    void multiply(const Execution& e, const Tile& tile) const {
        half* halves = reinterpret_cast<half*>(tile.memory + panel_bytes_ + sums_bytes_ + totals_bytes_);
        half* z = e.at<half>(z_);
        for (int64_t row = 0; row < tile.rows; row += block_rows_) {
            const int64_t m = std::min(block_rows_, tile.rows - row),
                          first = tile.matrix_row + tile.row + row;
            sum(e, tile, first, m);
            for (int64_t i = 0; i < m; ++i) {
                const float bias = bias_ ? e.at<float>(*bias_)[first + i] : 0.0f;
                finish(e, tile, i * columns_, tile.columns, {&weight_.scales[size(first + i)], 0}, {&bias, 0},
                       p_.z_is_transposed
                           ? halves + (row + i) * columns_
                           : z + (tile.batch * p_.rows + tile.row + row + i) * p_.columns + tile.column);
            }
        }
        if (p_.z_is_transposed)
            e.kernels.products->transpose(halves, size(columns_), size(tile.rows), size(tile.columns),
                                          z + (tile.batch * p_.columns + tile.column) * p_.rows + tile.row,
                                          size(p_.rows));
    }

    void multiply_column(const Execution& e, const Tile& tile) const {
        const int64_t first = tile.matrix_row + tile.row;
        sum(e, tile, first, tile.rows);
        constexpr float none = 0;
        finish(e, tile, 0, tile.rows, weight_.scales.data() + first,
               bias_ ? Elements<float>(e.at<float>(*bias_) + first) : Elements<float>(&none, 0),
               e.at<half>(z_) + tile.batch * p_.rows + tile.row);
    }

    IntegerProduct p_;
    int64_t chunk_, chunks_;  // terms of a sum that fit 32 bits; how many such chunks it has
    PackedWeight weight_;
    std::optional<Buffer> bias_;
    Buffer x_;
    uint8_t flip_;
    bool is_column_;  // one column, which needs no panel
    cpu::Numbers numbers_;
    Buffer z_, scratch_;
    int64_t depth_;           // terms of a panel in memory
    int64_t block_rows_;      // of the sums in registers
    int64_t rows_, columns_;  // of a tile
    int64_t width_, count_;   // sums in a row, and in a block of rows
    int64_t panel_bytes_, sums_bytes_, totals_bytes_, halves_bytes_;
};

}  // namespace

void add_integer_product(Lowering& l, const IntegerProduct& product, const IntegerOperands& operands,
                         std::optional<Buffer> bias, const mil::Value& z) {
    const IntegerTiles tiles(l, product, operands, bias, z);
    l.step(tiles.reads(), tiles.writes(), [=](const Execution& e) { tiles.run(e); });
}

}  // namespace ane::emulator
