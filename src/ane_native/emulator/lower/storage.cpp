// Element types and compressed weights: casts, quantization, constexpr operations. All that the latter read
// is constant, so they run once, at compile.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "emulator/transfer.h"
#include "quantization.h"

namespace ane::emulator {

namespace {

// fp16 to an integer type: toward zero, clamped to its range.
template <typename T>
void to_integers(const float* x, std::byte* y, int64_t n) {
    constexpr auto low = static_cast<float>(std::numeric_limits<T>::min()),
                   high = static_cast<float>(std::numeric_limits<T>::max());
    for (int64_t i = 0; i < n; ++i)
        reinterpret_cast<T*>(y)[i] = std::isnan(x[i]) ? T{0} : static_cast<T>(std::clamp(x[i], low, high));
}

template <typename T>
void from_integers(const std::byte* x, float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(reinterpret_cast<const T*>(x)[i]);
}

void widen(const Kernels& k, DType dtype, const std::byte* x, float* y, int64_t n, Numbers numbers) {
    switch (dtype) {
        case DType::fp16:
            return k.widen(reinterpret_cast<const half*>(x), y, static_cast<size_t>(n), numbers);
        case DType::fp32: std::memcpy(y, x, static_cast<size_t>(n) * sizeof(float)); return;
        case DType::int8: return from_integers<int8_t>(x, y, n);
        case DType::uint8:
        case DType::boolean: return from_integers<uint8_t>(x, y, n);
        case DType::int16: return from_integers<int16_t>(x, y, n);
        default: return from_integers<uint16_t>(x, y, n);
    }
}

void narrow(const Kernels& k, DType dtype, const float* x, std::byte* y, int64_t n, Rounding rounding) {
    switch (dtype) {
        case DType::fp16: return k.to_half(x, reinterpret_cast<half*>(y), static_cast<size_t>(n), rounding);
        case DType::fp32: std::memcpy(y, x, static_cast<size_t>(n) * sizeof(float)); return;
        case DType::int8: return to_integers<int8_t>(x, y, n);
        case DType::uint8: return to_integers<uint8_t>(x, y, n);
        case DType::int16: return to_integers<int16_t>(x, y, n);
        case DType::uint16: return to_integers<uint16_t>(x, y, n);
        default:
            for (int64_t i = 0; i < n; ++i) y[i] = std::byte{x[i] != 0.0f};
    }
}

void lower_cast(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& value = op.value("x");
    const DType from = value.type.dtype, to = results[0]->type.dtype;
    if ((from == DType::fp32 || to == DType::fp32) && !l.profile().casts_fp32)
        op.refuse("",
                  "the private framework's compiler is reported to refuse casts from and to fp32 on M1 and "
                  "M2 (" +
                      std::string(l.profile().name) + "): use fp16 ports and convert on the CPU");
    const Numbers numbers = l.profile().numbers;
    const int64_t from_size = dtype_bits(from) / 8, to_size = dtype_bits(to) / 8;
    l.step({.count = value.type.elements(),
            .operands = {l.operand(value, value.type.shape)},
            .result = l.result_operand(*results[0]),
            .compute = [=](const Piece& p) {
                if (from == DType::fp32)
                    return narrow(p.kernels, to, p.array<float>(0), p.result, p.count, {numbers});
                if (to == DType::fp32)  // infinity stays infinity
                    return widen(p.kernels, from, p.array<std::byte>(0), p.to<float>(), p.count,
                                 Numbers::ieee);
                alignas(64) float values[tile];
                for (int64_t begin = 0; begin < p.count; begin += tile) {
                    const int64_t n = std::min(tile, p.count - begin);
                    widen(p.kernels, from, p.array<std::byte>(0) + begin * from_size, values, n, numbers);
                    narrow(p.kernels, to, values, p.result + begin * to_size, n, {numbers});
                }
            }});
}

// An argument of one number, or of one for each index of the axis, for work over `shape`.
Operand parameter(Lowering& l, const std::vector<float>& numbers, int64_t axis, const Shape& shape) {
    std::vector<int64_t> strides(shape.size(), 0);
    if (numbers.size() > 1) strides[static_cast<size_t>(axis)] = 1;
    return {l.constant(numbers), sizeof(float), {shape, strides}};
}

// x, scale and zero_point.
std::vector<Operand> affine_operands(Lowering& l, const mil::OpView& op, const mil::Value& x) {
    const Affine a = affine(op, x.type);
    const Shape& shape = x.type.shape;
    return {l.operand(x, shape), parameter(l, a.scale, a.axis, shape),
            parameter(l, a.zero_point, a.axis, shape)};
}

void lower_quantize(Lowering& l, const mil::OpView& op, Results results) {
    const bool is_signed = results[0]->type.dtype == DType::int8;
    l.step({.count = results[0]->type.elements(),
            .operands = affine_operands(l, op, op.value("input")),
            .result = l.result_operand(*results[0]),
            .compute = [=, numbers = l.profile().numbers](const Piece& p) {
                p.kernels.quantize(p.array<half>(0), p.operand<float>(1), p.operand<float>(2), is_signed,
                                   p.to<uint8_t>(), p.size(), numbers);
            }});
}

void add_dequantize(Lowering& l, const mil::OpView& op, const mil::Value& value, Operand result,
                    Numbers numbers, bool is_scaled = true) {
    const bool is_signed = value.type.dtype == DType::int8;
    std::vector<Operand> operands = affine_operands(l, op, value);
    if (!is_scaled) operands[1] = parameter(l, {1.0f}, 0, value.type.shape);
    l.step({.count = value.type.elements(),
            .operands = std::move(operands),
            .result = std::move(result),
            .compute = [=](const Piece& p) {
                p.kernels.dequantize(p.array<uint8_t>(0), p.operand<float>(1), p.operand<float>(2), is_signed,
                                     p.to<half>(), p.size(), numbers);
            }});
}

void lower_dequantize(Lowering& l, const mil::OpView& op, Results results) {
    add_dequantize(l, op, op.value("input"), l.result_operand(*results[0]), l.profile().numbers);
}

// A constant, so the plan folds it: the weight exists as fp16 before the first evaluation. A compiler's CPU
// rounds it.
void lower_constexpr_affine(Lowering& l, const mil::OpView& op, Results results) {
    add_dequantize(l, op, op.value("quantized_data"), l.result_operand(*results[0]), Numbers::ieee);
}

// Elements [first, first + n) of integers of `width` bits, packed with the lowest bits first.
void unpack(int width, const std::byte* data, int64_t first, int64_t n, uint8_t* to) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(data);
    if (width == 8) {
        std::copy_n(bytes + first, n, to);
        return;
    }
    const unsigned ones = (1u << width) - 1;
    for (int64_t bit = first * width; bit < (first + n) * width; bit += width) {
        unsigned element = bytes[bit / 8] >> (bit % 8);
        if (bit % 8 + width > 8) element |= static_cast<unsigned>(bytes[bit / 8 + 1]) << (8 - bit % 8);
        *to++ = static_cast<uint8_t>(element & ones);
    }
}

// The same, or fp16, as fp32; at most a tile.
void to_floats(const Kernels& k, DType dtype, const std::byte* data, int64_t first, int64_t n, float* to) {
    if (dtype == DType::fp16)
        return k.to_float(reinterpret_cast<const half*>(data) + first, to, static_cast<size_t>(n));
    const int width = dtype_bits(dtype);
    uint8_t bytes[tile];
    unpack(width, data, first, n, bytes);
    const int sign = is_signed_integer(dtype) ? 1 << (width - 1) : 0;
    std::transform(bytes, bytes + n, to,
                   [=](uint8_t byte) { return static_cast<float>((byte ^ sign) - sign); });
}

// Loops over the elements of `shape` and the elements of `blocks` that they belong to, side by side. Along
// the innermost loop elements follow one another, in one block or each in the next.
LoopNest<2> block_loops(const Shape& shape, const Shape& blocks) {
    const auto elements = row_major_strides(shape), block_strides = row_major_strides(blocks);
    Shape extents;
    std::array<std::vector<int64_t>, 2> strides;
    for (size_t i = 0; i < shape.size(); ++i) {
        const int64_t length = shape[i] / blocks[i];
        extents.insert(extents.end(), {blocks[i], length});
        strides[0].insert(strides[0].end(), {elements[i] * length, elements[i]});
        strides[1].insert(strides[1].end(), {block_strides[i], 0});
    }
    return {extents, strides};
}

// Calls work(offsets, n) in parallel for at most a tile of `n` elements of the innermost loop from `offsets`
// on.
template <typename Work>
void for_each_chunk(const Execution& e, const LoopNest<2>& nest, const Work& work) {
    const int64_t length = nest.inner().extent, rows = nest.outer_count();
    const int64_t pieces = ceil_divide(length, tile);                   // tasks that share one row
    const int64_t rows_per_task = std::max<int64_t>(1, tile / length);  // rows that share one task
    e.threads.parallel_for(ceil_divide(rows, rows_per_task) * pieces, [&](int64_t task, int) {
        const int64_t first_row = task / pieces * rows_per_task, begin = task % pieces * tile;
        const int64_t last_row = std::min(rows, first_row + rows_per_task);
        for (int64_t row = first_row; row < last_row; ++row) {
            auto offsets = nest.offsets(row);
            for (size_t k = 0; k < offsets.size(); ++k) offsets[k] += begin * nest.inner().strides[k];
            work(offsets, std::min(tile, length - begin));
        }
    });
}

void lower_lut(Lowering& l, const mil::OpView& op, Results results) {
    // With a shape there is one table, of scalars, and the indices are packed in bytes.
    const bool is_packed = op.has("shape");
    const Shape shape = is_packed ? op.integers("shape") : op.type("indices").shape;
    const int64_t rank = static_cast<int64_t>(shape.size());
    Shape tables = op.type("lut").shape;
    if (is_packed) {
        tables.insert(tables.begin(), static_cast<size_t>(rank), 1);
        tables.push_back(1);
    }
    const int64_t entries = tables[rank], vector = tables[rank + 1];
    const int width = std::countr_zero(static_cast<uint64_t>(entries));
    const Shape blocks(tables.begin(), tables.end() - 2);
    const int64_t axis = vector > 1 || op.has("vector_axis") ? op.axis("vector_axis", rank) : rank - 1;
    // Along the vector axis the elements of one index follow each other.
    const int64_t inner = row_major_strides(shape)[axis];
    const LoopNest<2> nest = block_loops(shape, blocks);
    const Buffer indices = l.buffer(op.value("indices")), lut = l.buffer(op.value("lut")),
                 y = l.result(*results[0]);
    l.step({indices, lut}, {y}, [=](const Execution& e) {
        const int64_t step = nest.inner().strides[1] * entries * vector;
        for_each_chunk(e, nest, [&](const std::array<int64_t, 2>& at, int64_t n) {
            uint8_t index[tile];
            unpack(width, e.at<std::byte>(indices), at[0], n, index);
            const half* table = e.at<half>(lut) + at[1] * entries * vector;
            half* to = e.at<half>(y);
            if (vector == 1)
                for (int64_t i = 0; i < n; ++i) to[at[0] + i] = table[i * step + index[i]];
            else
                for (int64_t i = 0; i < n; ++i)
                    for (int64_t v = 0; v < vector; ++v) {
                        const int64_t place = at[0] + i;
                        to[(place / inner * vector + v) * inner + place % inner] =
                            table[i * step + index[i] * vector + v];
                    }
        });
    });
}

// y[i] = the next of `data` for each one of the mask; how many there are.
template <typename T>
int64_t expand(const uint8_t* mask, int64_t count, const T* data, int64_t given, T* y) {
    int64_t next = 0;
    for (int64_t first = 0; first < count; first += 8) {
        const int64_t bits = std::min<int64_t>(8, count - first);
        for (unsigned ones = mask[first / 8] & ((1u << bits) - 1); ones != 0; ones &= ones - 1, ++next)
            if (next < given) y[first + std::countr_zero(ones)] = data[next];
    }
    return next;
}

void lower_sparse(Lowering& l, const mil::OpView& op, Results results) {
    const int64_t count = results[0]->type.elements(), given = op.type("nonzero_data").elements();
    const bool is_half = results[0]->type.dtype == DType::fp16;
    const Buffer mask = l.buffer(op.value("mask")), data = l.buffer(op.value("nonzero_data"));
    const Buffer y = l.result(*results[0]);
    l.step({mask, data}, {y}, [=, &op](const Execution& e) {
        const auto* ones = e.at<uint8_t>(mask);
        const int64_t found = is_half ? expand(ones, count, e.at<half>(data), given, e.at<half>(y))
                                      : expand(ones, count, e.at<uint8_t>(data), given, e.at<uint8_t>(y));
        if (found != given)
            op.fail("mask", "mask has " + std::to_string(found) + " ones, nonzero_data " +
                                std::to_string(given) + " elements");
    });
}

void add_blockwise(Lowering& l, const mil::OpView& op, Buffer y, bool is_scaled) {
    const DType data_type = op.type("data").dtype;
    const LoopNest<2> nest = block_loops(op.type("data").shape, op.type("scale").shape);
    const bool has_offset = op.has("offset");
    const DType offset_type = has_offset ? op.type("offset").dtype : DType::fp16;
    const Buffer data = l.buffer(op.value("data")), scale = l.buffer(op.value("scale"));
    const Buffer offset = has_offset ? l.buffer(op.value("offset")) : scale;
    l.step({data, scale, offset}, {y}, [=](const Execution& e) {
        const Kernels& k = e.kernels;
        for_each_chunk(e, nest, [&](const std::array<int64_t, 2>& at, int64_t n) {
            alignas(64) float values[tile], parameters[tile];
            const int64_t blocks = nest.inner().strides[1] == 0 ? 1 : n;
            const auto apply = [&](Binary op, DType dtype, Buffer parameter) {
                to_floats(k, dtype, e.at<std::byte>(parameter), at[1], blocks, parameters);
                if (blocks == 1)
                    k.binary_scalar(op, values, parameters[0], values, static_cast<size_t>(n));
                else
                    k.binary(op, values, parameters, values, static_cast<size_t>(n));
            };
            to_floats(k, data_type, e.at<std::byte>(data), at[0], n, values);
            if (has_offset) apply(Binary::sub, offset_type, offset);
            if (is_scaled) apply(Binary::mul, DType::fp16, scale);
            k.to_half(values, e.at<half>(y) + at[0], static_cast<size_t>(n), {});
        });
    });
}

void lower_blockwise(Lowering& l, const mil::OpView& op, Results results) {
    add_blockwise(l, op, l.result(*results[0]), true);
}

// One scale, or one for each index of the first axis.
bool is_by_output(const mil::OpView& op, const TensorType& weight) {
    if (op.op() == "constexpr_affine_dequantize") return affine(op, weight).axis <= 0;
    if (op.op() != "constexpr_blockwise_shift_scale" || op.type("data").dtype == DType::fp16 ||
        (op.has("offset") && op.type("offset").dtype == DType::fp16))
        return false;
    const Shape& scale = op.type("scale").shape;
    return std::all_of(scale.begin() + 1, scale.end(), [](int64_t extent) { return extent == 1; }) &&
           (scale[0] == 1 || scale[0] == weight.shape[0]);
}

void lower_constexpr_cast(Lowering& l, const mil::OpView& op, Results results) {
    const int64_t count = results[0]->type.elements();
    const Buffer x = l.buffer(op.value("source_val")), y = l.result(*results[0]);
    l.step(halves_to_floats(x, y, count, Numbers::ieee));
}

}  // namespace

std::optional<ScaledCodes> scaled_codes(Lowering& l, const mil::Value& x, const mil::Value& weight) {
    const mil::Operation* from = l.profile().scales_sums ? l.producer(weight) : nullptr;
    const mil::Operation* x_from = l.producer(x);
    if (!from || weight.type.rank() == 0 || (x_from && x_from->op == "dequantize")) return {};
    const mil::OpView op = l.view(*from);
    if (!is_by_output(op, weight.type)) return {};
    const Buffer codes = l.scratch(weight.type.bytes());
    if (op.has("data"))
        add_blockwise(l, op, codes, false);
    else
        add_dequantize(l, op, op.value("quantized_data"),
                       {codes, sizeof(half), packed_walk(weight.type.elements())}, Numbers::ieee, false);
    std::vector<float> scales = op.numbers("scale");
    scales.resize(static_cast<size_t>(weight.type.shape[0]), scales[0]);
    const Buffer floats = l.constant(scales);
    const Buffer halves = l.scratch(static_cast<int64_t>(scales.size() * sizeof(half)));
    l.step({floats}, {halves}, [=, n = scales.size()](const Execution& e) {
        e.kernels.to_half(e.at<float>(floats), e.at<half>(halves), n, {});
    });
    return ScaledCodes{codes, halves};
}

void add_scales(Lowering& l, Buffer sums, Buffer scales, int64_t axis, const mil::Value& result) {
    const Shape& shape = result.type.shape;
    std::vector<int64_t> strides(shape.size(), 0);
    strides[static_cast<size_t>(axis)] = 1;
    l.step({.count = result.type.elements(),
            .operands = {{sums, sizeof(half), packed_walk(result.type.elements())},
                         {scales, sizeof(half), {shape, strides}}},
            .result = l.result_operand(result),
            .compute = [numbers = l.profile().numbers](const Piece& p) {
                p.kernels.binary_halves(Binary::mul, p.operand<half>(0), p.operand<half>(1), p.to<half>(),
                                        p.size(), numbers);
            }});
}

std::span<const LoweringEntry> storage_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"cast", lower_cast},
        {"constexpr_affine_dequantize", lower_constexpr_affine},
        {"constexpr_blockwise_shift_scale", lower_blockwise},
        {"constexpr_cast", lower_constexpr_cast},
        {"constexpr_lut_to_dense", lower_lut},
        {"constexpr_sparse_to_dense", lower_sparse},
        {"dequantize", lower_dequantize},
        {"quantize", lower_quantize},
    };
    return table;
}

}  // namespace ane::emulator
