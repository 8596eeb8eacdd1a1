#import <Foundation/Foundation.h>

#include <pthread.h>

#import "request.h"

// A program on its way through the engine: described, compiled, loaded, evaluated, unloaded.
@interface _ANEInMemoryModel : NSObject {
    _ANEInMemoryModelDescriptor* descriptor;
    ANEStandinProgram* program;  // from the first compile or load on
    uint64_t state, programHandle;
    unsigned perfStatsMask;
    pthread_mutex_t in_use;  // by one call at a time
}

+ (id)inMemoryModelWithDescriptor:(_ANEInMemoryModelDescriptor*)descriptor;

- (NSString*)hexStringIdentifier;
- (NSString*)localModelPath;
- (BOOL)saveModelFiles;
- (BOOL)compiledModelExists;
- (void)purgeCompiledModel;

- (BOOL)compileWithQoS:(unsigned)qos options:(NSDictionary*)options error:(NSError**)error;
- (BOOL)loadWithQoS:(unsigned)qos options:(NSDictionary*)options error:(NSError**)error;
- (BOOL)evaluateWithQoS:(unsigned)qos
                options:(NSDictionary*)options
                request:(_ANERequest*)request
                  error:(NSError**)error;
- (BOOL)unloadWithQoS:(unsigned)qos error:(NSError**)error;
- (BOOL)mapIOSurfacesWithRequest:(_ANERequest*)request cacheInference:(BOOL)cache error:(NSError**)error;

- (NSDictionary*)modelAttributes;
- (uint64_t)state;
- (uint64_t)programHandle;
- (uint64_t)intermediateBufferHandle;
- (int8_t)queueDepth;
- (unsigned)perfStatsMask;
- (void)setPerfStatsMask:(unsigned)mask;
- (_ANEInMemoryModelDescriptor*)descriptor;

@end

long ane_models_live(void);
long ane_models_loaded(void);
long ane_model_folders(void);
long ane_evaluations(void);
void ane_forget_evaluations(void);
