// Matrix products as the Neural Engine's multiply-accumulate computes them, bit for bit, for the SIMD level
// being compiled.
//
// Why: the engine sums integers, multiples of 2^-16. It rounds each product to one, with ties away from zero,
// and drops the products whose exponents sum up to -17 or less (docs/emulator.md). A fused multiply-add does
// all of this but the drop: with the left element scaled by 2^16 and moved away from zero by its last bit,
// which decides ties and nothing else, adding the product to 1.5 * 2^23 or another integer of that size
// rounds the product to an integer. So one instruction multiplies, rounds and adds, and the sum's integer
// stands in its low bits. Integers make a sum independent of its order. This holds while a sum is below 64:
// the terms are divided into chunks that keep to that bound, whatever their signs, and the sums of chunks are
// added as integers, which holds while products are below 64 and sums below 32768. Rows without these bounds
// take `sum_wide`.
#include "half.h"
#include "level.h"
#include "vector.h"

namespace ane::cpu::ANEPERF_SIMD_LEVEL {
namespace {

constexpr size_t block_vectors = 2;
constexpr size_t strip = block_vectors * lanes;
constexpr int32_t infinite_word = 0x7f800000;

inline Floats magnitude(Floats x) { return as_floats(as_words(x) & 0x7fffffffu); }

// The least |x| that a product with the left element keeps: 2^(-16 - its exponent), where subnormals have
// exponent -14 on both sides. 0 for the element 0.
inline Floats threshold(Floats element) {
    constexpr int bias = 127, least = bias - 14;
    const Ints exponent = as_ints(element) >> 23 & 255;
    const Ints kept = 2 * bias - 16 - (exponent < least ? Ints{} + least : exponent);
    return as_floats(kept << 23 & (kept > least) & (element != 0.0f));
}

// Strips of the panel [depth, strip], each followed by the least magnitude, other than 0, of each of its
// rows.
void pack(const half* b, size_t stride, size_t row, size_t rows, size_t columns, float* panel, size_t depth) {
    for (size_t k = row; k < row + rows; ++k, b += stride) {
        float* to = panel;
        for (size_t first = 0; first < columns; first += strip, to += depth * (strip + 1)) {
            Ints least = Ints{} + infinite_word;
            for (size_t i = 0; i < strip; i += lanes) {
                const size_t begin = first + i;
                const size_t left = begin < columns ? columns - begin : 0;
                const Floats x =
                    left == 0 ? Floats{} : decode(load<Halves>(b + begin, left < lanes ? left : lanes));
                const Ints size = as_ints(magnitude(x)), found = size == 0 ? Ints{} + infinite_word : size;
                least = found < least ? found : least;
                store(to + k * strip + i, x);
            }
            float leasts[lanes];
            store(leasts, as_floats(least));
            float& least_of_row = to[depth * strip + k];
            least_of_row = leasts[0];
            for (const float one : leasts) least_of_row = one < least_of_row ? one : least_of_row;
        }
    }
}

// Rows of the left operand as [rows, depth] factors, [rows, depth] thresholds, and by column [depth] greatest
// thresholds and [depth] greatest magnitudes.
void prepare(const half* a, size_t stride, size_t rows, size_t depth, float* left) {
    float* thresholds = left + rows * depth;
    float* greatest = thresholds + rows * depth;
    float* largest = greatest + depth;
    for (size_t i = 0; i < rows; ++i, a += stride, left += depth, thresholds += depth) {
        for (size_t k = 0; k < depth; k += lanes) {
            const size_t n = depth - k < lanes ? depth - k : lanes;
            const Floats element = decode(load<Halves>(a + k, n)), scaled = element * 0x1p16f;
            const Floats least = threshold(element), size = magnitude(element);
            store(left + k, as_floats(as_ints(scaled) - (scaled != 0.0f)), n);
            store(thresholds + k, least, n);
            store(greatest + k, i == 0 ? least : greater(load<Floats>(greatest + k, n), least), n);
            store(largest + k, i == 0 ? size : greater(load<Floats>(largest + k, n), size), n);
        }
    }
}

#if defined(__FMA__) || defined(__aarch64__)
constexpr bool has_fused = true;
// And a < b by lane, from the lowest bit on.
#if defined(__AVX512F__)
inline Floats fused(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline uint64_t less(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
#elif defined(__AVX2__)
inline Floats fused(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline uint64_t less(Floats a, Floats b) {
    return static_cast<uint64_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)));
}
#else
inline Floats fused(Floats a, Floats b, Floats c) {
    return __builtin_bit_cast(
        Floats, vfmaq_f32(__builtin_bit_cast(float32x4_t, c), __builtin_bit_cast(float32x4_t, a),
                          __builtin_bit_cast(float32x4_t, b)));
}
inline uint64_t less(Floats a, Floats b) {
    const Ints bits = {1, 2, 4, 8};
    return vaddvq_u32(__builtin_bit_cast(uint32x4_t, (a < b) & bits));
}
#endif
#else
// Without a fused multiply-add every row is summed in fp64.
constexpr bool has_fused = false;
inline Floats fused(Floats a, Floats b, Floats c) { return a * b + c; }
inline uint64_t less(Floats, Floats) { return 0; }
#endif

// As many rows as leave registers for the magnitudes and thresholds beside the sums: a sum in memory would
// make each addition wait for the one before.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr size_t block_rows = 8;
#else
constexpr size_t block_rows = 4;
#endif
constexpr float integer_offset = 12582912.0f;  // 1.5 * 2^23
// Below 64 by more than all roundings of a chunk.
constexpr float largest_chunk = 60.0f;

struct Left {
    const float *factors, *thresholds, *greatest, *largest;
    size_t depth;
};

// Where chunks of terms end whose sums are bounded.
struct Chunks {
    uint16_t ends[most_fixed_depth];
    size_t count;
};

inline float sum_of(const float* x, size_t n) {
    Floats sums = {};
    for (size_t i = 0; i < n; i += lanes) sums += load<Floats>(x + i, n - i < lanes ? n - i : lanes);
    float sum = 0;
    for (size_t i = 0; i < lanes; ++i) sum += sums[i];
    return sum;
}

inline Chunks find_chunks(const Left& a, float largest_right) {
    constexpr size_t at_once = 64;
    const float limit = largest_chunk / largest_right;
    Chunks chunks;
    chunks.count = 0;
    float sum = 0;
    for (size_t first = 0; first < a.depth; first += at_once) {
        const size_t end = a.depth - first < at_once ? a.depth : first + at_once;
        const float all = sum_of(a.largest + first, end - first);
        if (sum + all <= limit) {
            sum += all;
            continue;
        }
        for (size_t k = first; k < end; ++k) {
            if (sum > 0 && sum + a.largest[k] > limit) {
                chunks.ends[chunks.count++] = static_cast<uint16_t>(k);
                sum = 0;
            }
            sum += a.largest[k];
        }
    }
    chunks.ends[chunks.count++] = static_cast<uint16_t>(a.depth);
    return chunks;
}

enum class Products { all, kept, dropped };

// Adds the products of term k to the sums, or takes the dropped ones off.
template <Products which, size_t rows, size_t vectors>
inline void add_products(const Left& a, const float* b, size_t k, Floats (&sums)[rows][vectors]) {
    Floats row[vectors], sizes[vectors];
    for (size_t j = 0; j < vectors; ++j) {
        row[j] = load<Floats>(b + k * strip + j * lanes);
        sizes[j] = magnitude(row[j]);
    }
    for (size_t i = 0; i < rows; ++i) {
        const Floats factor = splat(a.factors[i * a.depth + k]);
        const Floats least = splat(a.thresholds[i * a.depth + k]);
        for (size_t j = 0; j < vectors; ++j) {
            Floats x = row[j];
            if (which == Products::kept) x = as_floats(as_ints(x) & (sizes[j] >= least));
            if (which == Products::dropped) x = as_floats(as_ints(-x) & (sizes[j] < least));
            sums[i][j] = fused(x, factor, sums[i][j]);
        }
    }
}

// The terms that may have a product to drop, as bits of 64 terms each.
struct DroppingTerms {
    static constexpr size_t word_terms = 64;
    uint64_t words[most_fixed_depth / word_terms];
    size_t count;
};

inline DroppingTerms find_dropping(const float* least, const float* greatest, size_t depth) {
    DroppingTerms found;
    found.count = 0;
    for (size_t first = 0; first < depth; first += DroppingTerms::word_terms) {
        const size_t n =
            depth - first < DroppingTerms::word_terms ? depth - first : DroppingTerms::word_terms;
        uint64_t word = 0;
        for (size_t i = 0; i < n; i += lanes) {
            const size_t k = first + i, left = n - i < lanes ? n - i : lanes;
            word |= less(load<Floats>(least + k, left), load<Floats>(greatest + k, left)) << i;
        }
        found.words[first / DroppingTerms::word_terms] = word;
        found.count += static_cast<size_t>(__builtin_popcountll(word));
    }
    return found;
}

// Adds to c, or writes to it, the sums that add(sums) leaves.
template <size_t rows, size_t vectors, class Add>
inline void add_chunk(int32_t* c, size_t c_stride, bool accumulate, Add add) {
    Floats sums[rows][vectors];
    for (auto& row : sums)
        for (Floats& sum : row) sum = splat(integer_offset);
    add(sums);
    for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < vectors; ++j) {
            int32_t* to = c + i * c_stride + j * lanes;
            const Words sum = as_words(sums[i][j]) - as_words(integer_offset);
            store(to, accumulate ? load<Words>(to) + sum : sum);
        }
    }
}

// Few terms have a product to drop, where numbers are of usual size: all products are added, then those are
// taken off again, in one chunk: each is at most two units. Testing each product as it is added costs less
// where two in five terms may have one to drop.
template <size_t rows, size_t vectors>
inline void multiply_block(const Left& a, const Chunks& chunks, const float* b, int32_t* c, size_t c_stride,
                           bool accumulate) {
    const DroppingTerms dropping = find_dropping(b + a.depth * strip, a.greatest, a.depth);
    const bool drops_most = 5 * dropping.count > 2 * a.depth;
    size_t k = 0;
    for (size_t chunk = 0; chunk < chunks.count; ++chunk) {
        const size_t end = chunks.ends[chunk];
        add_chunk<rows, vectors>(c, c_stride, accumulate || chunk > 0, [&](auto& sums) {
            if (drops_most)
                for (; k < end; ++k) add_products<Products::kept>(a, b, k, sums);
            else
                for (; k < end; ++k) add_products<Products::all>(a, b, k, sums);
        });
    }
    if (drops_most || dropping.count == 0) return;
    add_chunk<rows, vectors>(c, c_stride, true, [&](auto& sums) {
        for (size_t first = 0; first < a.depth; first += DroppingTerms::word_terms) {
            uint64_t word = dropping.words[first / DroppingTerms::word_terms];
            for (; word != 0; word &= word - 1)
                add_products<Products::dropped>(a, b, first + static_cast<size_t>(__builtin_ctzll(word)),
                                                sums);
        }
    });
}

template <size_t rows = block_rows>
void multiply_rows(const Left& a, const Chunks& chunks, size_t count, const float* panel, size_t columns,
                   int32_t* c, size_t c_stride, bool accumulate) {
    if constexpr (rows > 1) {
        if (count < rows)
            return multiply_rows<rows - 1>(a, chunks, count, panel, columns, c, c_stride, accumulate);
    }
    for (size_t j = 0; j < columns; j += strip, panel += a.depth * (strip + 1)) {
        if (columns - j <= lanes)
            multiply_block<rows, 1>(a, chunks, panel, c + j, c_stride, accumulate);
        else
            multiply_block<rows, block_vectors>(a, chunks, panel, c + j, c_stride, accumulate);
    }
}

void multiply(const float* left, size_t rows, const float* panel, float largest, size_t depth, size_t columns,
              int32_t* c, size_t c_stride, bool accumulate) {
    const float* greatest = left + 2 * rows * depth;
    const Left a{left, left + rows * depth, greatest, greatest + depth, depth};
    multiply_rows(a, find_chunks(a, largest), rows, panel, columns, c, c_stride, accumulate);
}

// One row, in fp64, where a product and half a step beside it are exact. A sum that has overflowed stays so,
// unless a product overflows on the other side.
void sum_wide(const half* a, size_t depth, const float* panel, size_t columns, WideSum* sums) {
    constexpr int64_t limit = int64_t{1} << 31;
    for (size_t k = 0; k < depth; ++k) {
        const half elements[lanes] = {a[k]};
        const Floats element = decode(load<Halves>(elements));
        const float least = threshold(element)[0];
        const double factor = static_cast<double>(element[0]) * 0x1p16;
        for (size_t j = 0; j < columns; ++j) {
            const float x = panel[j / strip * depth * (strip + 1) + k * strip + j % strip];
            if ((x < 0 ? -x : x) < least) continue;
            const double product = static_cast<double>(x) * factor;
            const auto rounded = static_cast<int64_t>(product < 0 ? product - 0.5 : product + 0.5);
            WideSum& sum = sums[j];
            const bool is_over = sum.is_above || sum.is_below;
            if (!is_over) sum.value += rounded;
            const int64_t reached = is_over ? rounded : sum.value;
            sum.is_above |= reached >= limit;
            sum.is_below |= reached <= -limit;
        }
    }
}

// A sum as fp32. Bits that are below all that fp16 shows become one, so that fp32 holds it and the rounding
// to fp16 is the only one.
inline Floats as_fp32(Ints sum) {
    constexpr int32_t held = 1 << 24, low = 255;
    const Ints size = sum < 0 ? -sum : sum;
    const Ints gathered = (size & ~low) | ((size & low) != 0 ? Ints{} + (low + 1) : Ints{});
    const Floats value = __builtin_convertvector(size < held ? size : gathered, Floats) * 0x1p-16f;
    return as_floats(as_ints(value) | (sum & (Ints{} + INT32_MIN)));
}

// Sums that overflow on both sides are 0.
void finish_wide(const WideSum* sums, float* c, size_t n) {
    const float infinite = __builtin_inff();
    for (size_t i = 0; i < n; ++i) {
        const WideSum& sum = sums[i];
        if (sum.is_above || sum.is_below)
            c[i] = sum.is_above == sum.is_below ? 0.0f : (sum.is_above ? infinite : -infinite);
        else
            c[i] = as_fp32(Ints{} + static_cast<int32_t>(sum.value))[0];
    }
}

void finish(int32_t* sums, Elements<int32_t> start, size_t n) {
    for (size_t i = 0; i < n; i += lanes) {
        const size_t count = n - i < lanes ? n - i : lanes;
        const Ints first = start.step == 0 ? Ints{} + *start.data : load<Ints>(start.data + i, count);
        store(sums + i, as_ints(as_fp32(load<Ints>(sums + i) + first)));
    }
}

Bounds bounds(const half* a, size_t n) {
    Floats sum = {}, largest = {};
    for (size_t k = 0; k < n; k += lanes) {
        const Floats size = magnitude(decode(load<Halves>(a + k, n - k < lanes ? n - k : lanes)));
        sum += size;
        largest = greater(largest, size);
    }
    Bounds result{};
    for (size_t i = 0; i < lanes; ++i) {
        result.sum += sum[i];
        result.largest = largest[i] > result.largest ? largest[i] : result.largest;
    }
    return result;
}

}  // namespace

constinit const FixedProductKernels fixed_products = {.rows = block_rows,
                                                      .strip = strip,
                                                      .largest_product = has_fused ? largest_chunk : 0.0f,
                                                      .pack = pack,
                                                      .prepare = prepare,
                                                      .multiply = multiply,
                                                      .finish = finish,
                                                      .bounds = bounds,
                                                      .sum_wide = sum_wide,
                                                      .finish_wide = finish_wide};

}  // namespace ane::cpu::ANEPERF_SIMD_LEVEL
