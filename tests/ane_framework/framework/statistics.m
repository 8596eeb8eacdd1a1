// Counters: a header of 8 bytes and 29 words of 64 bits, which grow with every evaluation (FT).
#import "statistics.h"

#import "request.h"

enum { header_bytes = 8, words = 29, counter_bytes = header_bytes + words * sizeof(uint64_t) };
static const uint64_t execution_ns =
    125000;  // of every evaluation: no measurement, and not to be taken for one

@implementation _ANEPerformanceStats

// (RE: alloc and init give nil)
- (id)init {
    [self release];
    return nil;
}

- (id)initWithTime:(uint64_t)nanoseconds data:(NSData*)data {
    self = [super init];
    if (self) {
        hwExecutionTime = nanoseconds;
        perfCounterData = [data copy];
    }
    return self;
}

+ (id)statsWithHardwareExecutionNS:(uint64_t)nanoseconds {
    return [[[self alloc] initWithTime:nanoseconds data:nil] autorelease];
}

- (void)dealloc {
    [perfCounterData release];
    [super dealloc];
}

- (uint64_t)hwExecutionTime {
    return hwExecutionTime;
}

- (NSData*)perfCounterData {
    return perfCounterData;
}

@end

@implementation _ANEPerformanceStatsIOSurface

+ (id)objectWithIOSurface:(id)surface statType:(int64_t)type {
    _ANEPerformanceStatsIOSurface* const object = [[self new] autorelease];
    object->stats = [surface retain];
    object->statType = type;
    return object;
}

- (void)dealloc {
    [stats release];
    [super dealloc];
}

- (id)stats {
    return stats;
}

- (int64_t)statType {
    return statType;
}

@end

_ANEPerformanceStats* ane_count_evaluation(_ANEPerformanceStatsIOSurface* offered) {
    const IOSurfaceRef surface = [(_ANEIOSurfaceObject*)[offered stats] ioSurface];
    if (!surface || IOSurfaceGetAllocSize(surface) < counter_bytes) return nil;
    IOSurfaceLock(surface, 0, NULL);
    char* const base = IOSurfaceGetBaseAddress(surface);
    uint64_t* const counters = (uint64_t*)(base + header_bytes);
    for (uint64_t i = 0; i < words; ++i) counters[i] += i + 1;  // the word at i grows by i + 1
    NSData* const data = [NSData dataWithBytes:base length:counter_bytes];
    IOSurfaceUnlock(surface, 0, NULL);
    return [[[_ANEPerformanceStats alloc] initWithTime:execution_ns data:data] autorelease];
}
