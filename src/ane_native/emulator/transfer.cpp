#include "transfer.h"

#include <algorithm>
#include <cstring>

#include "lowering.h"

namespace ane::emulator {

namespace {

Operand packed(Buffer buffer, int64_t bytes, int64_t count) { return {buffer, bytes, packed_walk(count)}; }

Operand in_port(Buffer surface, const Layout& layout) {
    return {surface, dtype_bits(layout.dtype) / 8, port_walk(layout)};
}

}  // namespace

Walk port_walk(const Layout& layout) {
    return {{layout.rows(), layout.width()}, {layout.row_pitch() * 8 / dtype_bits(layout.dtype), 1}};
}

Elementwise load(Buffer surface, const Layout& layout, Buffer buffer, Numbers numbers) {
    const int64_t count = layout.rows() * layout.width(), bytes = dtype_bits(layout.dtype) / 8;
    Elementwise work{.count = count,
                     .operands = {in_port(surface, layout)},
                     .result = packed(buffer, bytes, count),
                     .is_load = true};
    if (numbers == Numbers::engine && layout.dtype == DType::fp32)
        work.compute = [](const Piece& p) {
            p.kernels.nan_to_infinity(p.array<float>(0), p.to<float>(), p.size());
        };
    return work;
}

Elementwise store(Buffer buffer, const Layout& layout, Buffer surface) {
    const int64_t count = layout.rows() * layout.width(), bytes = dtype_bits(layout.dtype) / 8;
    return {.count = count, .operands = {packed(buffer, bytes, count)}, .result = in_port(surface, layout)};
}

Elementwise halves_to_floats(Buffer x, Buffer y, int64_t count, Numbers numbers) {
    return {.count = count,
            .operands = {packed(x, sizeof(half), count)},
            .result = packed(y, sizeof(float), count),
            .compute = [numbers](const Piece& p) {
                p.kernels.widen(p.array<half>(0), p.to<float>(), p.size(), numbers);
            }};
}

void load_constant(const Execution& e, std::span<const std::byte> from, std::byte* to) {
    constexpr size_t piece = 1 << 16;
    const auto pieces = static_cast<int64_t>((from.size() + piece - 1) / piece);
    e.threads.parallel_for(pieces, [&](int64_t task, int) {
        const size_t begin = static_cast<size_t>(task) * piece, bytes = std::min(piece, from.size() - begin);
        std::memcpy(to + begin, from.data() + begin, bytes);
    });
}

}  // namespace ane::emulator
