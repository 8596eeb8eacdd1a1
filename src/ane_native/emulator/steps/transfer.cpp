#include "transfer.h"

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

bool has_nan(DType dtype) { return dtype == DType::fp16 || dtype == DType::fp32; }

Elementwise load(Buffer surface, const Layout& layout, Buffer buffer, bool keeps_nan) {
    const int64_t count = layout.rows() * layout.width(), bytes = dtype_bits(layout.dtype) / 8;
    Elementwise work{.count = count,
                     .operands = {in_port(surface, layout)},
                     .result = packed(buffer, bytes, count),
                     .is_load = true};
    if (keeps_nan || !has_nan(layout.dtype)) return work;
    if (layout.dtype == DType::fp16)
        work.compute = [](const Piece& p) {
            p.kernels.nan_to_infinity_halves(p.array<half>(0), p.to<half>(), p.size());
        };
    else
        work.compute = [](const Piece& p) {
            p.kernels.nan_to_infinity(p.array<float>(0), p.to<float>(), p.size());
        };
    return work;
}

Elementwise store(Buffer buffer, const Layout& layout, Buffer surface) {
    const int64_t count = layout.rows() * layout.width(), bytes = dtype_bits(layout.dtype) / 8;
    return {.count = count, .operands = {packed(buffer, bytes, count)}, .result = in_port(surface, layout)};
}

Elementwise flush_subnormals(Buffer x, Buffer y, int64_t count) {
    return {.count = count,
            .operands = {packed(x, sizeof(half), count)},
            .result = packed(y, sizeof(half), count),
            .compute = [](const Piece& p) {
                const half* from = p.array<half>(0);
                for (int64_t i = 0; i < p.count; ++i)
                    p.to<half>()[i] = from[i] & 0x7c00 ? from[i] : from[i] & 0x8000;
            }};
}

Elementwise halves_to_floats(Buffer x, Buffer y, int64_t count) {
    return {.count = count,
            .operands = {packed(x, sizeof(half), count)},
            .result = packed(y, sizeof(float), count),
            .compute = [](const Piece& p) { p.kernels.to_float(p.array<half>(0), p.to<float>(), p.size()); }};
}

}  // namespace ane::emulator
