// Element-wise work that runs tile by tile: each tile goes through all of it while it is in the cache.
#pragma once

#include <vector>

#include "step.h"

namespace ane::emulator {

struct Link {
    Elementwise work;
    bool is_kept;  // the result goes to its buffer; otherwise it exists only a tile at a time
};

class Chain {
   public:
    // In an order in which they can run, all over the same number of elements.
    Chain(std::vector<Link> links, int workers);

    int64_t scratch_bytes() const { return workers_ * worker_bytes_; }
    void run(const Execution& e, std::byte* scratch) const;

   private:
    // Which of a worker's tiles a link works on.
    struct Tiles {
        std::vector<int> operands;  // a result of an earlier link, or room for what has to be gathered
        int result;
    };
    static constexpr int none = -1;

    void assign_tiles();
    void choose_sizes(int workers);
    void run_tile(const Execution& e, std::byte* memory, int64_t begin, int64_t n) const;
    Elements<std::byte> locate(const Execution& e, const Operand& operand, std::byte* tile, int64_t begin,
                               int64_t n) const;

    std::vector<Link> links_;
    std::vector<Tiles> tiles_;  // of each link
    int tile_count_ = 0;
    int64_t count_, tile_, task_;  // elements: of all, of a tile, of a task
    int64_t tile_bytes_, worker_bytes_, workers_;
};

}  // namespace ane::emulator
