// Element-wise work over tensors that broadcast, cut into stretches of one tile at most.
#pragma once

#include <algorithm>

#include "../lowering.h"
#include "../strided.h"
#include "transfer.h"

namespace ane::emulator {

// Calls work(offsets, n) in parallel for `n` elements from `offsets` on, each operand by its innermost
// stride.
template <size_t operands, typename Work>
void for_each_stretch(const Execution& e, const LoopNest<operands>& nest, const Work& work) {
    const int64_t length = nest.inner().extent;
    const int64_t rows = nest.outer_count();
    const int64_t pieces = ceil_divide(length, tile);                   // tasks that share one row
    const int64_t rows_per_task = std::max<int64_t>(1, tile / length);  // rows that share one task
    e.threads.parallel_for(ceil_divide(rows, rows_per_task) * pieces, [&](int64_t task, int) {
        const int64_t first_row = task / pieces * rows_per_task, begin = task % pieces * tile;
        const int64_t last_row = std::min(rows, first_row + rows_per_task);
        for (int64_t row = first_row; row < last_row; ++row) {
            auto offsets = nest.offsets(row);
            for (size_t k = 0; k < operands; ++k) offsets[k] += begin * nest.inner().strides[k];
            work(offsets, std::min(tile, length - begin));
        }
    });
}

}  // namespace ane::emulator
