#import <Foundation/Foundation.h>

#include <pthread.h>

#import "request.h"

// A program on disk, and what the engine knows of it once it is loaded.
@interface _ANEModel : NSObject {
    NSURL* modelURL;
    NSString* key;
    ANEStandinProgram* program;
    BOOL is_counted;
    long loads;  // less unloads
    uint64_t state, programHandle;
    unsigned perfStatsMask;
    pthread_mutex_t in_use;  // by one call at a time
}

// A model of a client's own. MIL text is a file model.mil with the key nil.
+ (id)modelAtURL:(NSURL*)url key:(NSString*)key;
// A model that belongs to a model from memory, and is not counted as one.
+ (_ANEModel*)partAtURL:(NSURL*)url key:(NSString*)key;
- (NSURL*)modelURL;
- (NSString*)key;
// The program; nil before the first load.
- (ANEStandinProgram*)program;
- (uint64_t)state;
- (uint64_t)programHandle;
- (uint64_t)intermediateBufferHandle;
- (int8_t)queueDepth;
- (unsigned)perfStatsMask;
- (void)setPerfStatsMask:(unsigned)mask;
- (NSDictionary*)modelAttributes;
- (NSIndexSet*)inputSymbolIndicesForProcedureIndex:(unsigned)procedure;
- (NSIndexSet*)outputSymbolIndicesForProcedureIndex:(unsigned)procedure;

@end

// The daemon's and the driver's share.
@interface _ANEModel (Engine)
- (BOOL)load:(ANEStandinProgram*)program options:(NSDictionary*)options error:(NSError**)error;
- (BOOL)evaluate:(_ANERequest*)request options:(NSDictionary*)options error:(NSError**)error;
- (BOOL)unload:(NSError**)error;
@end

long ane_models_live(void);
void ane_count_model(long change);
long ane_models_loaded(void);
long ane_evaluations(void);
void ane_forget_evaluations(void);
