// A compiled program: steps over numbered buffers, with all memory laid out in advance.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "step.h"

namespace ane::emulator {

// Memory on a cache line's boundary, zero-filled; in large pages where it fills some. What is large costs
// nothing until it is touched.
class AlignedBytes {
   public:
    AlignedBytes() = default;
    explicit AlignedBytes(int64_t bytes);
    std::byte* data() const { return data_; }
    int64_t size() const { return size_; }

   private:
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    std::unique_ptr<void, Free> memory_;
    std::byte* data_ = nullptr;
    int64_t size_ = 0;
};

enum class Storage : uint8_t { arena, constant, surface };

struct BufferPlan {
    Storage storage;
    int64_t bytes;
    int64_t offset = 0;     // arena
    AlignedBytes constant;  // constant
};

struct Plan {
    std::vector<Step> steps;
    std::vector<BufferPlan> buffers;
    std::vector<Buffer> inputs, outputs;  // the surfaces, in port order
    int64_t arena_bytes = 0;
    int64_t constant_bytes = 0;
};

// Drops steps and constants that no output needs.
void drop_dead_steps(Plan& plan);

// Places buffers that live at different times in the same memory.
void place(Plan& plan);

}  // namespace ane::emulator
