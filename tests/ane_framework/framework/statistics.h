#import <Foundation/Foundation.h>
#import <IOSurface/IOSurface.h>

// Statistics of one evaluation, as a client reads them.
@interface _ANEPerformanceStats : NSObject {
    uint64_t hwExecutionTime;
    NSData* perfCounterData;
}

+ (id)statsWithHardwareExecutionNS:(uint64_t)nanoseconds;
- (uint64_t)hwExecutionTime;
- (NSData*)perfCounterData;

@end

// The surface that a client offers for the counters.
@interface _ANEPerformanceStatsIOSurface : NSObject {
    id stats;
    int64_t statType;
}

+ (id)objectWithIOSurface:(id)surfaceObject statType:(int64_t)statType;
- (id)stats;
- (int64_t)statType;

@end

// The engine counts one more evaluation in the surface. Nil if it has no room.
_ANEPerformanceStats* ane_count_evaluation(_ANEPerformanceStatsIOSurface* surface);
