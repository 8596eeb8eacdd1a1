#include "integer_product.h"

#include <algorithm>

#include "product_tiles.h"

namespace ane::emulator {

namespace {

constexpr int64_t line = 64;  // bytes: rows of the weight begin on one
constexpr int64_t most_block_rows = 16;
constexpr int64_t shortest_tile = 24;  // below, a worker packs a panel for too few rows
constexpr int64_t narrowest_integer_tile = 32;
constexpr int64_t integer_panel_budget = 1 << 19;  // bytes: a panel stays in the second-level cache
constexpr double least_integer_task = 1 << 20;     // multiplications that are worth handing to another thread

int64_t in_lines(int64_t bytes) { return ceil_divide(bytes, line) * line; }

// The kernels take signed bytes on the left and unsigned ones on the right; flipping the top bit of the other
// kind moves it, and its zero point, by 128.
struct Encoding {
    uint8_t flip;
    int32_t zero_point_shift;

    uint32_t zero_point(float z) const {
        return static_cast<uint32_t>(static_cast<int32_t>(z) + zero_point_shift);
    }
};

Encoding encode_left(DType dtype) { return dtype == DType::int8 ? Encoding{0, 0} : Encoding{0x80, -128}; }
Encoding encode_right(DType dtype) { return dtype == DType::int8 ? Encoding{0x80, 128} : Encoding{0, 0}; }

// The weight as the kernels read it, once for all evaluations, with one row of ones behind the last.
struct PackedWeight {
    int64_t rows, stride;  // of all matrices; bytes
    Buffer bytes;
    // With l and r the operands less their zero points p and q,
    //     sum (l - p)(r - q) = sum l r + (depth p q - q sum l) - p sum r,
    // where the term in parentheses, `start`, is known in advance, and the last is often 0.
    Buffer start;
    std::vector<uint32_t> zero_points;
    std::vector<float> scales;  // times that of x

    bool is_symmetric() const {
        return std::ranges::all_of(zero_points, [](uint32_t z) { return z == 0; });
    }
};

PackedWeight packed(Lowering& l, const IntegerProduct& p, const IntegerOperands& o) {
    PackedWeight w;
    w.rows = o.weight->type.elements() / p.inner;
    w.stride = in_lines(p.inner);
    const Encoding left = encode_left(o.weight->type.dtype), right = encode_right(o.x->type.dtype);
    const Affine& affine = o.weight_affine;
    for (int64_t row = 0; row < w.rows; ++row) {
        const int64_t channel = row % affine.channels;
        w.zero_points.push_back(left.zero_point(affine.zero_point_at(channel)));
        w.scales.push_back(affine.scale_at(channel) * o.x_affine.scale[0]);
    }
    const Buffer from = l.buffer(*o.weight);
    w.bytes = l.scratch((w.rows + 1) * w.stride);
    w.start = l.scratch(w.rows * static_cast<int64_t>(sizeof(int32_t)));
    const uint32_t x_zero_point = right.zero_point(o.x_affine.zero_point[0]);
    l.step({from}, {w.bytes, w.start}, [=](const Execution& e) {
        const auto depth = static_cast<uint32_t>(p.inner);
        e.threads.parallel_for(w.rows, [&](int64_t row, int) {
            const uint8_t* weight =
                e.at<uint8_t>(from) + row / p.rows * p.rows * p.inner + row % p.rows * p.weight_row_stride;
            uint8_t* to = e.at<uint8_t>(w.bytes) + row * w.stride;
            uint32_t sum = 0;
            for (int64_t k = 0; k < p.inner; ++k) {
                to[k] = weight[k * p.weight_inner_stride] ^ left.flip;
                sum += static_cast<uint32_t>(static_cast<int8_t>(to[k]));
            }
            e.at<uint32_t>(w.start)[row] = x_zero_point * (depth * w.zero_points[size(row)] - sum);
        });
        std::fill_n(e.at<int8_t>(w.bytes) + w.rows * w.stride, p.inner, int8_t{1});
    });
    return w;
}

// The tiles of one product. Unlike those of fp16 they do not divide the sums: a panel is as deep as they are.
class IntegerTiles {
   public:
    IntegerTiles(Lowering& l, const IntegerProduct& product, const IntegerOperands& o,
                 std::optional<Buffer> bias, const mil::Value& z)
        : p_(product),
          weight_(packed(l, product, o)),
          bias_(bias),
          x_(l.buffer(*o.x)),
          flip_(encode_right(o.x->type.dtype).flip),
          is_column_(p_.columns == 1 && !p_.pack),
          rounding_(l.profile().product) {
        z_ = l.result(z);
        depth_ = in_lines(p_.inner);
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
        panel_bytes_ = is_column_ ? depth_ : depth_ * columns_;
        const int64_t sums = is_column_ ? rows_ + 1 : (block_rows_ + 1) * columns_;
        sums_bytes_ = in_lines(sums * static_cast<int64_t>(sizeof(int32_t)));
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
    int64_t bytes() const { return panel_bytes_ + sums_bytes_ + halves_bytes_; }

    int32_t* sums(const Tile& tile) const { return reinterpret_cast<int32_t*>(tile.memory + panel_bytes_); }
    int32_t* column_sums(const Tile& tile) const {
        return sums(tile) + (is_column_ ? rows_ : block_rows_ * columns_);
    }

    void pack(const Execution& e, int64_t offset, const Tile& tile) const {
        const uint8_t* x = e.at<uint8_t>(x_) + offset;
        const IntegerKernels& k = *e.kernels.integers;
        if (is_column_) {
            for (int64_t i = 0; i < p_.inner; ++i) tile.memory[i] = x[i] ^ flip_;
            std::fill(tile.memory + p_.inner, tile.memory + depth_, uint8_t{0});
        } else if (p_.pack) {
            p_.pack(e, {offset, tile.column, tile.columns, quads(), flip_}, tile.memory);
        } else if (p_.x_is_transposed) {
            k.pack_transposed(x + tile.column * p_.inner, size(p_.inner), size(p_.inner), size(tile.columns),
                              flip_, tile.memory, size(quads()));
        } else {
            k.pack(x + tile.column, size(p_.columns), size(p_.inner), size(tile.columns), flip_, tile.memory,
                   size(quads()));
        }
        // Products with ones, once for all rows of the panel.
        if (weight_.is_symmetric()) return;
        constexpr int32_t none = 0;
        const int8_t* ones = e.at<int8_t>(weight_.bytes) + weight_.rows * weight_.stride;
        if (is_column_)
            k.multiply_column(ones, 0, 1, tile.memory, size(depth_), &none, column_sums(tile));
        else
            k.multiply(ones, 0, 1, tile.memory, size(quads()), size(tile.columns), &none, column_sums(tile),
                       size(columns_));
    }

    void multiply(const Execution& e, const Tile& tile) const {
        half* halves = reinterpret_cast<half*>(tile.memory + panel_bytes_ + sums_bytes_);
        for (int64_t row = 0; row < tile.rows; row += block_rows_) {
            const int64_t m = std::min(block_rows_, tile.rows - row),
                          first = tile.matrix_row + tile.row + row;
            e.kernels.integers->multiply(e.at<int8_t>(weight_.bytes) + first * weight_.stride,
                                         size(weight_.stride), size(m), tile.memory, size(quads()),
                                         size(tile.columns), e.at<int32_t>(weight_.start) + first, sums(tile),
                                         size(columns_));
            for (int64_t i = 0; i < m; ++i) {
                float values[widest_tile];
                subtract_zero_point(tile, first + i, sums(tile) + i * columns_);
                e.kernels.scale_integers(sums(tile) + i * columns_, weight_.scales[size(first + i)], values,
                                         size(tile.columns));
                if (bias_)
                    e.kernels.binary_scalar(Binary::add, values, e.at<float>(*bias_)[first + i], values,
                                            size(tile.columns));
                if (p_.z_is_transposed)
                    e.kernels.to_half(values, halves + (row + i) * columns_, size(tile.columns), rounding_);
                else
                    e.kernels.to_half(values,
                                      e.at<half>(z_) +
                                          (tile.batch * p_.rows + tile.row + row + i) * p_.columns +
                                          tile.column,
                                      size(tile.columns), rounding_);
            }
        }
        if (p_.z_is_transposed)
            e.kernels.products->transpose(
                halves, size(columns_), size(tile.rows), size(tile.columns),
                e.at<half>(z_) + (tile.batch * p_.columns + tile.column) * p_.rows + tile.row, size(p_.rows));
    }

    void multiply_column(const Execution& e, const Tile& tile) const {
        const int64_t first = tile.matrix_row + tile.row;
        const size_t n = size(tile.rows);
        float values[tallest_tile + most_block_rows];
        e.kernels.integers->multiply_column(e.at<int8_t>(weight_.bytes) + first * weight_.stride,
                                            size(weight_.stride), n, tile.memory, size(depth_),
                                            e.at<int32_t>(weight_.start) + first, sums(tile));
        for (int64_t i = 0; i < tile.rows; ++i) subtract_zero_point(tile, first + i, sums(tile) + i);
        e.kernels.scale_integers(sums(tile), 1, values, n);
        e.kernels.binary(Binary::mul, values, weight_.scales.data() + first, values, n);
        if (bias_) e.kernels.binary(Binary::add, values, e.at<float>(*bias_) + first, values, n);
        e.kernels.to_half(values, e.at<half>(z_) + tile.batch * p_.rows + tile.row, n, rounding_);
    }

    void subtract_zero_point(const Tile& tile, int64_t row, int32_t* sums) const {
        const uint32_t zero_point = weight_.zero_points[size(row)];
        if (zero_point == 0) return;
        for (int64_t j = 0; j < tile.columns; ++j)
            sums[j] = static_cast<int32_t>(static_cast<uint32_t>(sums[j]) -
                                           zero_point * static_cast<uint32_t>(column_sums(tile)[j]));
    }

    int64_t quads() const { return ceil_divide(p_.inner, 4) * 4; }

    IntegerProduct p_;
    PackedWeight weight_;
    std::optional<Buffer> bias_;
    Buffer x_;
    uint8_t flip_;
    bool is_column_;  // one column, which needs no panel
    Rounding rounding_;
    Buffer z_, scratch_;
    int64_t depth_, block_rows_, rows_,
        columns_;  // of a panel in memory, of the sums in registers, of a tile
    int64_t panel_bytes_, sums_bytes_, halves_bytes_;
};

}  // namespace

void add_integer_product(Lowering& l, const IntegerProduct& product, const IntegerOperands& operands,
                         std::optional<Buffer> bias, const mil::Value& z) {
    const IntegerTiles tiles(l, product, operands, bias, z);
    l.step(tiles.reads(), tiles.writes(), [=](const Execution& e) { tiles.run(e); });
}

}  // namespace ane::emulator
