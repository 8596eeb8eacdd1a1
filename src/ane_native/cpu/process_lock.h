// A lock that survives fork.
#pragma once

#include <atomic>
#include <cstdint>

namespace ane::cpu {

// 0, and one more in each child that fork makes.
int32_t process_generation();

// A child of fork takes over a lock whose holder does not exist in the child. That is sound if a new holder
// does not rely on the state that the last one left.
class ProcessLock {
   public:
    bool try_lock() {
        const int32_t mine = process_generation() + 1;
        int32_t holder = 0;
        if (holder_.compare_exchange_strong(holder, mine)) return true;
        return holder != mine && holder_.compare_exchange_strong(holder, mine);
    }

    void lock() {
        while (!try_lock()) holder_.wait(process_generation() + 1);
    }

    void unlock() {
        holder_ = 0;
        holder_.notify_one();
    }

   private:
    std::atomic<int32_t> holder_{0};  // the holder's generation + 1; 0 if nobody holds it
};

}  // namespace ane::cpu
