#import <Foundation/Foundation.h>
#import <IOSurface/IOSurface.h>

#include <pthread.h>

#import "program.h"
#import "statistics.h"

// A surface as the framework passes it around.
@interface _ANEIOSurfaceObject : NSObject {
    IOSurfaceRef ioSurface;
    NSNumber* startOffset;
}

+ (id)objectWithIOSurface:(IOSurfaceRef)surface;
+ (id)objectWithIOSurface:(IOSurfaceRef)surface startOffset:(NSNumber*)startOffset;
- (IOSurfaceRef)ioSurface;
- (NSNumber*)startOffset;

@end

// The surfaces of one evaluation, by symbol index.
@interface _ANERequest : NSObject {
    NSArray *inputArray, *inputIndexArray, *outputArray, *outputIndexArray;
    id weightsBuffer, sharedEvents, transactionHandle;
    NSArray* perfStatsArray;
    _ANEPerformanceStats* perfStats;
    NSNumber* procedureIndex;
    pthread_mutex_t running;
    ANEStandinProgram* program;  // that `run` belongs to
    AneEngineRun* run;
}

+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
          weightsBuffer:(id)weightsBuffer
              perfStats:(NSArray*)perfStats
         procedureIndex:(NSNumber*)procedureIndex;
+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
          weightsBuffer:(id)weightsBuffer
         procedureIndex:(NSNumber*)procedureIndex;
+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
              perfStats:(NSArray*)perfStats
         procedureIndex:(NSNumber*)procedureIndex;
+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
         procedureIndex:(NSNumber*)procedureIndex;
+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
         procedureIndex:(NSNumber*)procedureIndex
           sharedEvents:(id)sharedEvents;
+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
         procedureIndex:(NSNumber*)procedureIndex
           sharedEvents:(id)sharedEvents
      transactionHandle:(id)transactionHandle;
- (NSArray*)inputArray;
- (NSArray*)inputIndexArray;
- (NSArray*)outputArray;
- (NSArray*)outputIndexArray;
- (NSNumber*)procedureIndex;
// The client offers perfStatsArray, and the engine sets perfStats.
- (NSArray*)perfStatsArray;
- (_ANEPerformanceStats*)perfStats;
- (void)setPerfStats:(_ANEPerformanceStats*)perfStats;
- (BOOL)validate;

@end

@interface _ANERequest (Evaluation)
- (BOOL)evaluateOn:(ANEStandinProgram*)program error:(NSError**)error;
@end

long ane_requests_live(void);
