#include "plan.h"

#include <algorithm>
#include <map>
#include <new>

#include "cpu/machine.h"

namespace ane::emulator {

namespace {

// Free chunks of the arena by offset. Allocation is best fit, and the arena grows if no chunk is large
// enough.
class Arena {
   public:
    int64_t take(int64_t bytes) {
        auto best = free_.end();
        for (auto chunk = free_.begin(); chunk != free_.end(); ++chunk)
            if (chunk->second >= bytes && (best == free_.end() || chunk->second < best->second)) best = chunk;
        if (best == free_.end()) {
            const int64_t offset = size_;
            size_ += bytes;
            return offset;
        }
        const auto [offset, size] = *best;
        free_.erase(best);
        if (size > bytes) free_[offset + bytes] = size - bytes;
        return offset;
    }

    void give(int64_t offset, int64_t bytes) {
        auto next = free_.lower_bound(offset);
        if (next != free_.end() && next->first == offset + bytes) {
            bytes += next->second;
            next = free_.erase(next);
        }
        if (next != free_.begin()) {
            const auto previous = std::prev(next);
            if (previous->first + previous->second == offset) {
                previous->second += bytes;
                return;
            }
        }
        free_[offset] = bytes;
    }

    int64_t size() const { return size_; }

   private:
    std::map<int64_t, int64_t> free_;
    int64_t size_ = 0;
};

}  // namespace

// The system gives large memory as zeros, page by page as it is touched, which calloc relies on.
AlignedBytes::AlignedBytes(int64_t bytes) : size_(bytes) {
    const bool is_large = bytes >= 2 * large_page;
    const int64_t boundary = is_large ? large_page : cache_line;
    memory_.reset(std::calloc(static_cast<size_t>(bytes + boundary), 1));
    if (!memory_) throw std::bad_alloc();
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    data_ = reinterpret_cast<std::byte*>((address + boundary - 1) / boundary * boundary);
    if (is_large) prefer_large_pages(data_, bytes);
}

void drop_dead_steps(Plan& plan) {
    std::vector<bool> needed(plan.buffers.size(), false);
    for (const Buffer output : plan.outputs) needed[output] = true;
    std::vector<Step> kept;
    for (auto step = plan.steps.rbegin(); step != plan.steps.rend(); ++step) {
        if (std::ranges::none_of(step->writes, [&](Buffer b) { return needed[b]; })) continue;
        for (const Buffer read : step->reads) needed[read] = true;
        kept.push_back(std::move(*step));
    }
    std::ranges::reverse(kept);
    plan.steps = std::move(kept);
    for (size_t b = 0; b < plan.buffers.size(); ++b)
        if (!needed[b]) plan.buffers[b].constant = AlignedBytes();
}

void place(Plan& plan) {
    for (const BufferPlan& buffer : plan.buffers) plan.constant_bytes += buffer.constant.size();

    std::vector<size_t> last_use(plan.buffers.size(), 0);
    for (size_t i = 0; i < plan.steps.size(); ++i)
        for (const auto* list : {&plan.steps[i].reads, &plan.steps[i].writes})
            for (const Buffer buffer : *list) last_use[buffer] = i;

    Arena arena;
    std::vector<bool> live(plan.buffers.size(), false);
    const auto in_arena = [&](Buffer b) { return plan.buffers[b].storage == Storage::arena; };
    for (size_t i = 0; i < plan.steps.size(); ++i) {
        const Step& step = plan.steps[i];
        for (const Buffer b : step.writes) {
            if (!in_arena(b) || live[b]) continue;
            plan.buffers[b].offset = arena.take(aligned(plan.buffers[b].bytes));
            live[b] = true;
        }
        for (const auto* list : {&step.reads, &step.writes})
            for (const Buffer b : *list) {
                if (!in_arena(b) || !live[b] || last_use[b] != i) continue;
                arena.give(plan.buffers[b].offset, aligned(plan.buffers[b].bytes));
                live[b] = false;
            }
    }
    plan.arena_bytes = arena.size();
}

}  // namespace ane::emulator
