#include "process_lock.h"

#include <pthread.h>

namespace ane::cpu {

namespace {

std::atomic<int32_t> generation{0};

const bool counted = [] {
    pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1); });
    return true;
}();

}  // namespace

int32_t process_generation() {
    static_cast<void>(counted);
    return generation.load(std::memory_order_relaxed);
}

}  // namespace ane::cpu
