#include "sha256.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace {

constexpr size_t block_bytes = 64;
using State = std::array<uint32_t, 8>;

// Fractional bits of a root of the first primes, which is how the standard defines its constants.
template <size_t Count>
std::array<uint32_t, Count> root_fractions(long double (*root)(long double)) {
    std::array<uint32_t, Count> result;
    size_t found = 0;
    for (unsigned candidate = 2; found < Count; ++candidate) {
        bool prime = true;
        for (unsigned divisor = 2; divisor * divisor <= candidate; ++divisor)
            prime = prime && candidate % divisor;
        if (!prime) continue;
        const long double value = root(candidate);
        result[found++] = static_cast<uint32_t>((value - std::floor(value)) * 4294967296.0L);
    }
    return result;
}

const std::array<uint32_t, 64> round_constants =
    root_fractions<64>([](long double x) { return std::cbrt(x); });
const State initial_state = root_fractions<8>([](long double x) { return std::sqrt(x); });

void compress(State& state, const uint8_t* block) {
    std::array<uint32_t, 64> w;
    for (size_t i = 0; i < 16; ++i)
        w[i] = static_cast<uint32_t>(block[4 * i]) << 24 | static_cast<uint32_t>(block[4 * i + 1]) << 16 |
               static_cast<uint32_t>(block[4 * i + 2]) << 8 | block[4 * i + 3];
    for (size_t i = 16; i < 64; ++i) {
        const uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
        const uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (size_t i = 0; i < 64; ++i) {
        const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
        const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + round_constants[i] + w[i];
        const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
        const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    const State change = {a, b, c, d, e, f, g, h};
    for (size_t i = 0; i < state.size(); ++i) state[i] += change[i];
}

}  // namespace

void sha256(const void* data, size_t bytes, uint8_t digest[sha256_bytes]) {
    const auto* at = static_cast<const uint8_t*>(data);
    State state = initial_state;
    size_t left = bytes;
    for (; left >= block_bytes; at += block_bytes, left -= block_bytes) compress(state, at);

    // The rest, a one bit, zeros, and the length in bits, big-endian, at the end of a block.
    uint8_t tail[2 * block_bytes] = {};
    if (left) std::memcpy(tail, at, left);
    tail[left] = 0x80;
    const size_t tail_bytes = left + 9 <= block_bytes ? block_bytes : 2 * block_bytes;
    const uint64_t bits = static_cast<uint64_t>(bytes) * 8;
    for (size_t i = 0; i < 8; ++i) tail[tail_bytes - 1 - i] = static_cast<uint8_t>(bits >> 8 * i);
    for (size_t i = 0; i < tail_bytes; i += block_bytes) compress(state, tail + i);

    for (size_t i = 0; i < sha256_bytes; ++i)
        digest[i] = static_cast<uint8_t>(state[i / 4] >> (24 - 8 * (i % 4)));
}
