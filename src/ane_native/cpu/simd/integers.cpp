// The parts of products of 8-bit integers for the SIMD level being compiled.
#include "level.h"
#include "vector.h"

namespace ane::cpu::ANEPERF_SIMD_LEVEL {
namespace {

constexpr size_t four = 4;  // terms that one step adds to each sum
constexpr size_t sixteen = 16;
constexpr size_t line = 64;  // of the cache
using Sixteen [[gnu::vector_size(sixteen)]] = uint8_t;

// The sums that stay in registers, beside a row of the panel, its two halves where those are needed, and four
// elements of the left operand.
constexpr size_t strip = lanes < sixteen ? sixteen : 2 * lanes;
constexpr size_t block_vectors = strip / lanes;
#if defined(__AVX512VNNI__)
constexpr size_t block_rows = 12;
#elif defined(__AVX512F__)
constexpr size_t block_rows = 8;
#elif defined(__AVX2__) || defined(__aarch64__)
constexpr size_t block_rows = 4;
#else
constexpr size_t block_rows = 2;
#endif

// sums + the products of the four bytes of each lane, those of x unsigned and those of a signed.
#if defined(__AVX512VNNI__)
inline Words add_products(Words sums, Words x, Words a) {
    return __builtin_bit_cast(
        Words, _mm512_dpbusd_epi32(__builtin_bit_cast(__m512i, sums), __builtin_bit_cast(__m512i, x),
                                   __builtin_bit_cast(__m512i, a)));
}
#elif defined(__SSE2__)
using Shorts [[gnu::vector_size(vector_bytes)]] = int16_t;

// The sums of two neighboring products.
inline Words multiply_pairs(Words x, Shorts a) {
#if defined(__AVX512F__)
    return __builtin_bit_cast(
        Words, _mm512_madd_epi16(__builtin_bit_cast(__m512i, x), __builtin_bit_cast(__m512i, a)));
#elif defined(__AVX2__)
    return __builtin_bit_cast(
        Words, _mm256_madd_epi16(__builtin_bit_cast(__m256i, x), __builtin_bit_cast(__m256i, a)));
#else
    return __builtin_bit_cast(Words,
                              _mm_madd_epi16(__builtin_bit_cast(__m128i, x), __builtin_bit_cast(__m128i, a)));
#endif
}

inline Words add_products(Words sums, Words x, Words a) {
    constexpr uint32_t even = 0x00ff00ff;
    const Shorts pairs = __builtin_bit_cast(Shorts, a), odd_on_top = __builtin_bit_cast(Shorts, a << 8);
    return sums + multiply_pairs(x & even, odd_on_top >> 8) + multiply_pairs(x >> 8 & even, pairs >> 8);
}
#else
inline Words add_products(Words sums, Words x, Words a) {
    for (int shift = 0; shift < 32; shift += 8) {
        const Ints element = __builtin_bit_cast(Ints, a << (24 - shift)) >> 24;
        sums += (x >> shift & 0xff) * __builtin_bit_cast(Words, element);
    }
    return sums;
}
#endif

// Four rows of sixteen columns, of which `columns` exist, to a quarter of a strip or more.
inline void interleave(const Sixteen (&rows)[four], uint8_t* panel) {
    Sixteen pairs[four];
    for (size_t i = 0; i < four; i += 2) {
        const Sixteen a = rows[i], b = rows[i + 1];
        pairs[i / 2] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        pairs[2 + i / 2] =
            __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    for (size_t i = 0; i < four; i += 2, panel += 2 * sixteen) {
        const Sixteen a = pairs[i], b = pairs[i + 1];
        store(panel, __builtin_shufflevector(a, b, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23));
        store(panel + sixteen,
              __builtin_shufflevector(a, b, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31));
    }
}

void pack(const uint8_t* b, size_t stride, size_t rows, size_t columns, uint8_t flip, uint8_t* panel,
          size_t depth) {
    for (size_t k = 0; k < rows; k += four, panel += four * strip) {
        uint8_t* to = panel;
        for (size_t first = 0; first < columns; first += strip, to += depth * strip) {
            for (size_t i = 0; i < strip; i += sixteen) {
                const size_t begin = first + i, left = begin < columns ? columns - begin : 0;
                Sixteen quad[four] = {};
                for (size_t r = 0; r < four && k + r < rows; ++r) {
                    const uint8_t* from = b + (k + r) * stride + begin;
                    if (left >= sixteen)
                        quad[r] = load<Sixteen>(from) ^ flip;
                    else
                        for (size_t j = 0; j < left; ++j) quad[r][j] = from[j] ^ flip;
                }
                interleave(quad, to + four * i);
            }
        }
    }
}

void pack_transposed(const uint8_t* b, size_t stride, size_t rows, size_t columns, uint8_t flip,
                     uint8_t* panel, size_t depth) {
    const size_t whole = rows / four * four;
    const uint32_t flips = flip * 0x01010101u;
    for (size_t first = 0; first < columns; first += strip, panel += depth * strip) {
        for (size_t j = 0; j < strip; ++j) {
            const uint8_t* from = b + (first + j) * stride;
            uint8_t* to = panel + four * j;
            for (size_t k = 0; k < rows; k += four, to += four * strip) {
                uint32_t quad = 0;
                if (first + j < columns) {
                    if (k < whole) {
                        __builtin_memcpy(&quad, from + k, four);
                        quad ^= flips;
                    } else {
                        uint8_t bytes[four] = {};
                        for (size_t r = 0; k + r < rows; ++r) bytes[r] = from[k + r] ^ flip;
                        __builtin_memcpy(&quad, bytes, four);
                    }
                }
                __builtin_memcpy(to, &quad, four);
            }
        }
    }
}

inline Words splat_four(const int8_t* a) {
    uint32_t quad;
    __builtin_memcpy(&quad, a, four);
    return Words{} + quad;
}

template <size_t rows, size_t vectors, bool fetches>
inline void multiply_block(const int8_t* a, size_t a_stride, const uint8_t* b, size_t depth,
                           const int32_t* start, int32_t* c, size_t c_stride) {
    Words sums[rows][vectors];
    for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < vectors; ++j) sums[i][j] = Words{} + static_cast<uint32_t>(start[i]);
    }
    for (size_t k = 0; k < depth; k += four, b += four * strip) {
        if constexpr (fetches) {
            // Fetches the rows that are multiplied next. A prefetch past the last row is harmless.
            if (k % line == 0) {
                for (size_t i = 0; i < rows; ++i) __builtin_prefetch(a + (rows + i) * a_stride + k);
            }
        }
        Words row[vectors];
        for (size_t j = 0; j < vectors; ++j) row[j] = load<Words>(b + j * vector_bytes);
        for (size_t i = 0; i < rows; ++i) {
            const Words elements = splat_four(a + i * a_stride + k);
            for (size_t j = 0; j < vectors; ++j) sums[i][j] = add_products(sums[i][j], row[j], elements);
        }
    }
    for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < vectors; ++j) store(c + i * c_stride + j * lanes, sums[i][j]);
    }
}

template <size_t rows = block_rows>
inline void multiply_block_row(const int8_t* a, size_t a_stride, size_t count, const uint8_t* panel,
                               size_t depth, size_t columns, const int32_t* start, int32_t* c,
                               size_t c_stride) {
    if constexpr (rows > 1) {
        if (count < rows)
            return multiply_block_row<rows - 1>(a, a_stride, count, panel, depth, columns, start, c,
                                                c_stride);
    }
    for (size_t j = 0; j < columns; j += strip, panel += depth * strip) {
        if (columns - j <= lanes)
            multiply_block<rows, 1, false>(a, a_stride, panel, depth, start, c + j, c_stride);
        else if (j == 0)
            multiply_block<rows, block_vectors, true>(a, a_stride, panel, depth, start, c + j, c_stride);
        else
            multiply_block<rows, block_vectors, false>(a, a_stride, panel, depth, start, c + j, c_stride);
    }
}

void multiply(const int8_t* a, size_t a_stride, size_t rows, const uint8_t* panel, size_t depth,
              size_t columns, const int32_t* start, int32_t* c, size_t c_stride) {
    for (size_t i = 0; i < rows; i += block_rows)
        multiply_block_row(a + i * a_stride, a_stride, rows - i, panel, depth, columns, start + i,
                           c + i * c_stride, c_stride);
}

template <size_t rows>
inline void multiply_column_block(const int8_t* a, size_t a_stride, const uint8_t* b, size_t depth,
                                  const int32_t* start, int32_t* c) {
    Words sums[rows] = {};
    for (size_t k = 0; k < depth; k += vector_bytes) {
        const Words x = load<Words>(b + k);
        for (size_t i = 0; i < rows; ++i)
            sums[i] = add_products(sums[i], x, load<Words>(a + i * a_stride + k));
    }
    for (size_t i = 0; i < rows; ++i) {
        auto sum = static_cast<uint32_t>(start[i]);
        for (size_t j = 0; j < lanes; ++j) sum += sums[i][j];
        c[i] = static_cast<int32_t>(sum);
    }
}

void multiply_column(const int8_t* a, size_t a_stride, size_t rows, const uint8_t* b, size_t depth,
                     const int32_t* start, int32_t* c) {
    constexpr size_t at_once = 4;  // rows: as many streams of memory
    size_t i = 0;
    for (; i + at_once <= rows; i += at_once)
        multiply_column_block<at_once>(a + i * a_stride, a_stride, b, depth, start + i, c + i);
    for (; i < rows; ++i) multiply_column_block<1>(a + i * a_stride, a_stride, b, depth, start + i, c + i);
}

}  // namespace

constinit const IntegerKernels integers = {.rows = block_rows,
                                           .strip = strip,
                                           .pack = pack,
                                           .pack_transposed = pack_transposed,
                                           .multiply = multiply,
                                           .multiply_column = multiply_column};

}  // namespace ane::cpu::ANEPERF_SIMD_LEVEL
