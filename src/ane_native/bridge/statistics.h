// The counters that the engine keeps of an evaluation, where the system gives them to a client like this one.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "device.h"
#include "framework.h"

namespace ane {

// Names by index, from freedomtan/ane_pmu_profiler, where the last five have none.
inline constexpr std::array counter_names = {
    "AF_TO_L2_DATA",   "AF_TO_KM_DATA",   "L2_TO_AF_DATA",       "L2_TO_NE_DATA",     "NE_TO_L2_DATA",
    "INT8_CYCLES",     "FP16_CYCLES",     "L2_READ_STALL",       "L2_WRITE_STALL",    "KM_STALL",
    "NE_NOMINAL",      "NE_THROTTLE",     "L2_THROTTLE",         "NE_COMPUTE",        "NE_INPUT_STALL",
    "NE_OUTPUT_STALL", "NE_KERNEL_STALL", "DMA_READWRITE_BYTES", "DMA_READ_BYTES",    "DPE_ENERGY",
    "L2_NOMINAL",      "L2PE_COMPUTE",    "L2PE_INPUT_STALL",    "L2PE_OUTPUT_STALL", "unknown 24",
    "unknown 25",      "unknown 26",      "unknown 27",          "unknown 28"};

// Statistics as a request reports them after an evaluation.
struct Statistics {
    bool given = false;
    std::optional<uint64_t> execution_ns;
    size_t bytes = 0;                                                    // of the counters
    std::optional<std::array<uint64_t, counter_names.size()>> counters;  // since the surface was made

    static Statistics of(id request) {
        constexpr size_t header_bytes = 8;
        Statistics result;
        id stats =
            [request respondsToSelector:@selector(perfStats)] ? [(id<AneRequest>)request perfStats] : nil;
        result.given = stats != nil;
        if ([stats respondsToSelector:@selector(hwExecutionTime)])
            result.execution_ns = [(id<AnePerformanceStats>)stats hwExecutionTime];
        id data = [stats respondsToSelector:@selector(perfCounterData)]
                      ? [(id<AnePerformanceStats>)stats perfCounterData]
                      : nil;
        if (![data isKindOfClass:[NSData class]]) return result;
        result.bytes = [(NSData*)data length];
        auto& counters = result.counters.emplace();
        if (result.bytes < header_bytes + sizeof counters) {
            result.counters.reset();
            return result;
        }
        std::memcpy(counters.data(), static_cast<const char*>([(NSData*)data bytes]) + header_bytes,
                    sizeof counters);
        return result;
    }
};

// The mask with every bit that the driver keeps, as load and evaluation want it.
inline NSDictionary* statistics_options() {
    return @{@"kANEFPerformanceStatsMask" : @15, @"enableProfiling" : @YES};
}

// The array that a request offers for the counters, of one object over a surface; nil if the framework has
// no such class.
inline NSArray* statistics_offer(const Framework& framework) {
    constexpr int64_t stat_type = 2;
    constexpr size_t surface_bytes = 4096;
    Class found = NSClassFromString(@"_ANEPerformanceStatsIOSurface");
    if (![(id)found respondsToSelector:@selector(objectWithIOSurface:statType:)]) return nil;
    NSDictionary* properties = @{
        (__bridge NSString*)kIOSurfaceWidth : @(surface_bytes / sizeof(uint32_t)),
        (__bridge NSString*)kIOSurfaceHeight : @1,
        (__bridge NSString*)kIOSurfaceBytesPerElement : @(sizeof(uint32_t)),
        (__bridge NSString*)kIOSurfaceBytesPerRow : @(surface_bytes),
        (__bridge NSString*)kIOSurfaceAllocSize : @(surface_bytes)
    };
    IOSurfaceRef surface = IOSurfaceCreate((__bridge CFDictionaryRef)properties);
    if (!surface) return nil;
    id object = [framework.surfaces objectWithIOSurface:surface];
    CFRelease(surface);
    id offer = object ? [(id<AneStatisticsClass>)found objectWithIOSurface:object statType:stat_type] : nil;
    return offer ? @[ offer ] : nil;
}

inline std::string why_no_statistics(const Statistics& statistics, unsigned mask_kept) {
    if (statistics.given) return "the request's statistics do not have it";
    if (mask_kept) return "the framework gave no statistics, with a statistics mask set";
    return "the system cleared the statistics mask: it gives counters with the boot argument anedebug=1, or "
           "to "
           "a client with the entitlement com.apple.ane.hardware-counters";
}

// Some systems do not clear the mask, and refuse the load (ane-guide, M1).
inline std::string why_no_load(const std::string& refusal) {
    return "the system refuses to load a program with a statistics mask (" + refusal +
           "): it takes the boot argument anedebug=1, or the entitlement com.apple.ane.hardware-counters";
}

// The counters of one evaluation, between two readings of the same request; `nothing` says why there are
// none.
inline std::vector<Counter> statistics_counters(const Statistics& before, const Statistics& after,
                                                const std::string& nothing) {
    std::vector<Counter> result;
    const uint64_t ns = after.execution_ns.value_or(0);
    result.push_back({"hardware execution time", "ns",
                      ns ? std::optional(static_cast<int64_t>(ns)) : std::nullopt,
                      ns                   ? ""
                      : after.execution_ns ? "hwExecutionTime is 0, which is no measurement"
                                           : nothing});
    result.push_back({"performance counters", "bytes",
                      after.bytes ? std::optional(static_cast<int64_t>(after.bytes)) : std::nullopt,
                      after.bytes ? "" : nothing});
    if (!before.counters || !after.counters) return result;
    for (size_t i = 0; i < counter_names.size(); ++i) {
        const std::string name = counter_names[i];
        const auto grown = static_cast<int64_t>((*after.counters)[i] - (*before.counters)[i]);
        result.push_back({name, name.ends_with("_BYTES") ? "bytes" : "", grown, ""});
    }
    return result;
}

}  // namespace ane
