#include <mach/mach_time.h>

#include <ctime>

// Apple silicon counts 24 MHz: a caller that takes ticks for nanoseconds should notice here too.
constexpr mach_timebase_info_data_t timebase = {125, 3};

kern_return_t mach_timebase_info(mach_timebase_info_t info) {
    *info = timebase;
    return KERN_SUCCESS;
}

uint64_t mach_absolute_time() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const auto nanoseconds =
        static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
    return nanoseconds / timebase.numer * timebase.denom +
           nanoseconds % timebase.numer * timebase.denom / timebase.numer;
}
