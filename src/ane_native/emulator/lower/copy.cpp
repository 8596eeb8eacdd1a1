#include "copy.h"

#include <cstring>

#include "emulator/transfer.h"

namespace ane::emulator {

template <typename Element>
void copy(const Execution& e, const Element* source, Element* destination, const LoopNest<2>& loops) {
    const auto [extent, strides] = loops.inner();
    const int64_t rows_per_task = std::max<int64_t>(1, tile / extent), rows = loops.outer_count();
    e.threads.parallel_for(ceil_divide(rows, rows_per_task), [&](int64_t task, int) {
        const int64_t last = std::min(rows, (task + 1) * rows_per_task);
        for (int64_t row = task * rows_per_task; row < last; ++row) {
            const auto [at_source, at_destination] = loops.offsets(row);
            if (strides[0] == 1 && strides[1] == 1) {
                std::memcpy(destination + at_destination, source + at_source,
                            static_cast<size_t>(extent) * sizeof(Element));
                continue;
            }
            for (int64_t i = 0; i < extent; ++i)
                destination[at_destination + i * strides[1]] = source[at_source + i * strides[0]];
        }
    });
}

template void copy(const Execution& e, const half*, half*, const LoopNest<2>&);
template void copy(const Execution& e, const uint8_t*, uint8_t*, const LoopNest<2>&);

void add_copy(Lowering& l, Buffer from, int64_t from_offset, Buffer to, const LoopNest<2>& loops) {
    l.step({from}, {to},
           [=](const Execution& e) { copy(e, e.at<half>(from) + from_offset, e.at<half>(to), loops); });
}

void add_transpose(Lowering& l, Buffer x, const TensorType& type, const std::vector<int64_t>& permutation,
                   Buffer y) {
    const auto packed = row_major_strides(type.shape);
    Shape transposed;
    std::vector<int64_t> strides;
    for (const int64_t axis : permutation) {
        transposed.push_back(type.shape[axis]);
        strides.push_back(packed[axis]);
    }
    const LoopNest<2> loops(transposed, {strides, row_major_strides(transposed)});
    with_element(type.dtype, [&]<typename Element>(Element) {
        l.step({x}, {y}, [=](const Execution& e) { copy(e, e.at<Element>(x), e.at<Element>(y), loops); });
    });
}

}  // namespace ane::emulator
