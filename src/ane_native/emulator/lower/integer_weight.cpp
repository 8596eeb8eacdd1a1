#include "integer_weight.h"

#include <algorithm>

#include "product_tiles.h"

namespace ane::emulator {

PackedWeight pack_weight(Lowering& l, const IntegerProduct& p, const IntegerOperands& o, int64_t chunk) {
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
    w.start = l.scratch(ceil_divide(p.inner, chunk) * w.rows * static_cast<int64_t>(sizeof(int32_t)));
    const uint32_t x_zero_point = right.zero_point(o.x_affine.zero_point[0]);
    l.step({from}, {w.bytes, w.start}, [=](const Execution& e) {
        e.threads.parallel_for(w.rows, [&](int64_t row, int) {
            const uint8_t* weight =
                e.at<uint8_t>(from) + row / p.rows * p.rows * p.inner + row % p.rows * p.weight_row_stride;
            uint8_t* to = e.at<uint8_t>(w.bytes) + row * w.stride;
            uint32_t* start = e.at<uint32_t>(w.start) + row;
            for (int64_t first = 0; first < p.inner; first += chunk, start += w.rows) {
                const int64_t end = std::min(first + chunk, p.inner);
                uint32_t sum = 0;
                for (int64_t k = first; k < end; ++k) {
                    to[k] = weight[k * p.weight_inner_stride] ^ left.flip;
                    sum += static_cast<uint32_t>(static_cast<int8_t>(to[k]));
                }
                *start = x_zero_point * (static_cast<uint32_t>(end - first) * w.zero_points[size(row)] - sum);
            }
        });
        std::fill_n(e.at<int8_t>(w.bytes) + w.rows * w.stride, p.inner, int8_t{1});
    });
    return w;
}

}  // namespace ane::emulator
