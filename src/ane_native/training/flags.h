// Flags in memory that processes share. Who finds a flag raised sees everything written before it was raised.
#pragma once

#include <cstdint>

namespace ane::training {

static_assert(__atomic_always_lock_free(sizeof(int32_t), nullptr), "a lock would be one process's own");

inline void raise_flags(int32_t* flags, int64_t count) {
    for (int64_t i = 0; i < count; ++i) __atomic_store_n(flags + i, 1, __ATOMIC_RELEASE);
}

inline bool are_raised(const int32_t* flags, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
        if (__atomic_load_n(flags + i, __ATOMIC_ACQUIRE) == 0) return false;
    return true;
}

}  // namespace ane::training
