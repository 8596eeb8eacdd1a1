// One step of a plan: work on numbered buffers. Element-wise work is described, so that steps can be fused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cpu/simd/kernels.h"
#include "cpu/thread_pool.h"
#include "strided.h"

namespace ane::emulator {

using namespace cpu;  // the layer under this one

using Buffer = int32_t;  // index into Plan::buffers

// The state that a running step sees.
struct Execution {
    std::byte* const* buffers;
    const Kernels& kernels;
    ThreadPool& threads;

    template <typename T>
    T* at(Buffer buffer) const {
        return reinterpret_cast<T*>(buffers[buffer]);
    }
};

// An operand or the result of element-wise work: element i of the work is element i of the walk.
struct Operand {
    Buffer buffer;
    int64_t element_bytes;
    Walk walk;
};

// The elements that one call of element-wise work is about: `count` of them from `first` on.
struct Piece {
    const Execution& execution;
    const Kernels& kernels;
    const Elements<std::byte>* operands;
    std::byte* result;
    int64_t first, count;
    float* scratch;

    template <typename T>
    Elements<T> operand(size_t i) const {
        return {reinterpret_cast<const T*>(operands[i].data), operands[i].step};
    }
    template <typename T>
    const T* array(size_t i) const {
        return reinterpret_cast<const T*>(operands[i].data);
    }
    template <typename T>
    T* to() const {
        return reinterpret_cast<T*>(result);
    }
    size_t size() const { return static_cast<size_t>(count); }
};

// Element i of the result depends on element i of each operand; or, where rows are longer than 1, on the
// elements of its row.
struct Elementwise {
    int64_t count;
    std::vector<Operand> operands;
    Operand result;
    std::function<void(const Piece&)> compute = {};  // empty for a copy
    int64_t row = 1;                                 // a piece is made of whole rows
    int64_t scratch_floats = 0;                      // that compute needs on each thread
    std::vector<Buffer> also_read = {};              // by compute, as a whole
    bool is_load = false;                            // from a port: cheaper to repeat than to keep
};

struct Step {
    std::vector<Buffer> reads, writes;  // scratch memory counts as written
    std::function<void(const Execution&)> run;
    std::optional<Elementwise> elementwise = {};  // instead of `run`, until steps are fused
    std::vector<std::string> computes = {};       // names of the MIL values that it is for
};

}  // namespace ane::emulator
