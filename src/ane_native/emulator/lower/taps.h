// The elements of a tensor under a kernel's taps.
#pragma once

#include <algorithm>

#include "emulator/strided.h"
#include "mil/ops/window_shape.h"

namespace ane::emulator {

// One tap of the kernel over output positions [first, first + n): the input element under it, or `zero` in
// the padding.
template <typename Element>
void gather_tap(const mil::ConvWindow& w, const Element* channel, int64_t tap, int64_t first, int64_t n,
                Element zero, Element* line) {
    const mil::WindowAxis &depth = w.depth(), &height = w.height(), &width = w.width();
    const int64_t kernel_line = tap / width.kernel;
    int64_t out_line = first / width.extent, out_column = first % width.extent;
    const int64_t offset = width.source(0, tap % width.kernel);
    // Output columns whose input column exists.
    const int64_t begin = std::clamp<int64_t>(ceil_divide(-offset, width.stride), 0, width.extent);
    const int64_t end = std::clamp(ceil_divide(width.size - offset, width.stride), begin, width.extent);
    while (n > 0) {
        const int64_t count = std::min(n, width.extent - out_column);
        const int64_t plane = depth.source(out_line / height.extent, kernel_line / height.kernel),
                      row = height.source(out_line % height.extent, kernel_line % height.kernel);
        const bool inside = plane >= 0 && plane < depth.size && row >= 0 && row < height.size;
        const int64_t from = inside ? std::clamp(begin - out_column, int64_t{0}, count) : count;
        const int64_t to = inside ? std::clamp(end - out_column, from, count) : count;
        const Element* x =
            channel + (plane * height.size + row) * width.size + offset + out_column * width.stride;
        std::fill(line, line + from, zero);
        if (width.stride == 1)
            std::copy(x + from, x + to, line + from);
        else
            for (int64_t i = from; i < to; ++i) line[i] = x[i * width.stride];
        std::fill(line + to, line + count, zero);
        line += count;
        n -= count;
        out_column = 0;
        ++out_line;
    }
}

}  // namespace ane::emulator
