// Why: a chain reads its inputs from memory once and writes only the results that other steps need. Between,
// values live in tiles: as many elements as leave room for all tiles of a worker in the first-level cache.
// Tiles are assigned like registers, so a long chain needs few. Tasks are long runs of tiles, because
// hardware prefetching works along a run and starts anew with each task.
#include "chain.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>

namespace ane::emulator {

namespace {

constexpr int64_t usual_tile = 1024;     // elements: a few tiles leave room in the first-level cache
constexpr int64_t tiles_per_task = 128;  // at most: memory is fetched ahead only along a task
constexpr int64_t tasks_per_worker = 4;  // at least, for threads of unequal speed to end together
constexpr size_t most_operands = 3;

// Calls visit with an unsigned integer of that size.
template <typename Visit>
void with_width(int64_t bytes, const Visit& visit) {
    switch (bytes) {
        case 1: return visit(uint8_t{});
        case 2: return visit(uint16_t{});
        default: return visit(uint32_t{});
    }
}

// Elements `begin` to `begin + n` of an operand, one after the other.
void gather(const Operand& operand, const std::byte* memory, int64_t begin, int64_t n, std::byte* tile) {
    const int64_t stride = operand.walk.stride();
    with_width(operand.element_bytes, [&]<typename T>(T) {
        const auto* x = reinterpret_cast<const T*>(memory);
        auto* y = reinterpret_cast<T*>(tile);
        operand.walk.visit_runs(begin, n, [&](int64_t offset, int64_t done, int64_t count) {
            if (stride == 1)
                std::copy_n(x + offset, count, y + done);
            else if (stride == 0)
                std::fill_n(y + done, count, x[offset]);
            else
                for (int64_t i = 0; i < count; ++i) y[done + i] = x[offset + i * stride];
        });
    });
}

// The other way, for a result that is not packed.
void scatter(const Operand& result, const std::byte* tile, int64_t begin, int64_t n, std::byte* memory) {
    const int64_t stride = result.walk.stride();
    with_width(result.element_bytes, [&]<typename T>(T) {
        const auto* x = reinterpret_cast<const T*>(tile);
        auto* y = reinterpret_cast<T*>(memory);
        result.walk.visit_runs(begin, n, [&](int64_t offset, int64_t done, int64_t count) {
            if (stride == 1)
                std::copy_n(x + done, count, y + offset);
            else
                for (int64_t i = 0; i < count; ++i) y[offset + i * stride] = x[done + i];
        });
    });
}

}  // namespace

Chain::Chain(std::vector<Link> links, int workers) : links_(std::move(links)) {
    assign_tiles();
    choose_sizes(workers);
}

void Chain::assign_tiles() {
    std::map<Buffer, size_t> last_use;
    for (size_t i = 0; i < links_.size(); ++i)
        for (const Operand& operand : links_[i].work.operands) last_use[operand.buffer] = i;

    std::vector<int> free;
    const auto take = [&] {
        if (free.empty()) return tile_count_++;
        const int tile = free.back();
        free.pop_back();
        return tile;
    };
    std::map<Buffer, int> holds;  // the tiles that hold results
    for (size_t i = 0; i < links_.size(); ++i) {
        const Elementwise& work = links_[i].work;
        Tiles tiles;
        std::vector<int> done;
        for (const Operand& operand : work.operands) {
            const auto held = holds.find(operand.buffer);
            const bool is_held = operand.walk.is_packed() && held != holds.end();
            const bool is_gathered = work.compute && !operand.walk.is_packed() && !operand.walk.repeats();
            tiles.operands.push_back(is_held ? held->second : is_gathered ? take() : none);
            if (is_gathered) done.push_back(tiles.operands.back());
        }
        const bool is_in_memory = links_[i].is_kept && (work.result.walk.is_packed() || !work.compute);
        tiles.result = is_in_memory ? none : take();
        if (!is_in_memory) holds[work.result.buffer] = tiles.result;
        // Only tiles that this link reads or computes can become free here.
        const auto release = [&](Buffer buffer) {
            const auto held = holds.find(buffer);
            const auto use = last_use.find(buffer);
            if (held == holds.end() || (use != last_use.end() && use->second > i)) return;
            done.push_back(held->second);
            holds.erase(held);
        };
        for (const Operand& operand : work.operands) release(operand.buffer);
        release(work.result.buffer);
        free.insert(free.end(), done.begin(), done.end());
        tiles_.push_back(std::move(tiles));
    }
}

void Chain::choose_sizes(int workers) {
    count_ = links_.front().work.count;
    int64_t row = 1, element_bytes = 1, scratch_floats = 0;
    for (const Link& link : links_) {
        row = std::lcm(row, link.work.row);
        scratch_floats = std::max(scratch_floats, link.work.scratch_floats);
        element_bytes = std::max(element_bytes, link.work.result.element_bytes);
        for (const Operand& operand : link.work.operands)
            element_bytes = std::max(element_bytes, operand.element_bytes);
    }
    tile_ = std::min(count_, std::max<int64_t>(1, usual_tile / row) * row);
    const int64_t tiles = ceil_divide(count_, tile_);
    task_ = tile_ * std::clamp<int64_t>(tiles / (tasks_per_worker * workers), 1, tiles_per_task);
    workers_ = count_ <= task_ ? 1 : workers;  // one task runs as worker 0
    tile_bytes_ = aligned(tile_ * element_bytes);
    worker_bytes_ = tile_count_ * tile_bytes_ + aligned(scratch_floats * static_cast<int64_t>(sizeof(float)));
}

void Chain::run(const Execution& e, std::byte* scratch) const {
    e.threads.parallel_for(ceil_divide(count_, task_), [&](int64_t task, int worker) {
        const int64_t end = std::min(count_, (task + 1) * task_);
        for (int64_t begin = task * task_; begin < end; begin += tile_)
            run_tile(e, scratch + worker * worker_bytes_, begin, std::min(tile_, end - begin));
    });
}

void Chain::run_tile(const Execution& e, std::byte* memory, int64_t begin, int64_t n) const {
    const auto tile = [&](int index) { return index == none ? nullptr : memory + index * tile_bytes_; };
    auto* scratch = reinterpret_cast<float*>(memory + tile_count_ * tile_bytes_);
    for (size_t i = 0; i < links_.size(); ++i) {
        const Elementwise& work = links_[i].work;
        const Operand& result = work.result;
        const bool is_in_memory = tiles_[i].result == none;
        std::byte* all = e.at<std::byte>(result.buffer);
        std::byte* to = is_in_memory ? all + begin * result.element_bytes : tile(tiles_[i].result);
        if (!work.compute) {
            const Operand& source = work.operands.front();
            if (source.walk.is_packed() && is_in_memory)
                scatter(result, locate(e, source, tile(tiles_[i].operands[0]), begin, n).data, begin, n, all);
            else
                gather(source, e.at<std::byte>(source.buffer), begin, n, to);
            continue;
        }
        std::array<Elements<std::byte>, most_operands> operands = {nullptr, nullptr, nullptr};
        for (size_t k = 0; k < work.operands.size(); ++k)
            operands[k] = locate(e, work.operands[k], tile(tiles_[i].operands[k]), begin, n);
        work.compute({e, e.kernels, operands.data(), to, begin, n, scratch});
        if (links_[i].is_kept && !is_in_memory) scatter(result, to, begin, n, all);
    }
}

// Where the elements of an operand are to be found one after the other: in the tile of an earlier result, in
// memory, or gathered into the tile.
Elements<std::byte> Chain::locate(const Execution& e, const Operand& operand, std::byte* tile, int64_t begin,
                                  int64_t n) const {
    const auto* memory = e.at<const std::byte>(operand.buffer);
    const int64_t bytes = operand.element_bytes, stride = operand.walk.stride();
    if (operand.walk.is_packed()) return tile ? tile : memory + begin * bytes;
    if (operand.walk.repeats()) return {memory, 0};
    const auto offset = operand.walk.offset_in_run(begin, n);
    if (offset && stride <= 1) return {memory + *offset * bytes, static_cast<size_t>(stride)};
    gather(operand, memory, begin, n, tile);
    return tile;
}

}  // namespace ane::emulator
