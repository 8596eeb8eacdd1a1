#import <Foundation/Foundation.h>

#include <pthread.h>

#import "descriptor.h"
#import "model.h"

// A program on its way through the engine: described, compiled, loaded, evaluated, unloaded. A wrapper: it
// writes files, and hands the model that lies there to the client.
@interface _ANEInMemoryModel : NSObject {
    _ANEInMemoryModelDescriptor* descriptor;  // until the files are saved
    NSString* hexStringIdentifier;
    NSDictionary* perFileHashes;
    NSURL* modelURL;
    _ANEModel* model;        // from the first compile or load on
    pthread_mutex_t in_use;  // by one call at a time
}

+ (id)inMemoryModelWithDescriptor:(_ANEInMemoryModelDescriptor*)descriptor;

- (NSString*)hexStringIdentifier;
- (NSDictionary*)perFileHashes;
- (NSString*)localModelPath;
- (NSURL*)modelURL;
- (void)setModelURL:(NSURL*)url;
- (NSURL*)saveModelFiles;
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

- (_ANEModel*)model;
- (ANEStandinProgram*)program;
- (NSDictionary*)modelAttributes;
- (uint64_t)state;
- (uint64_t)programHandle;
- (uint64_t)intermediateBufferHandle;
- (int8_t)queueDepth;
- (unsigned)perfStatsMask;
- (void)setPerfStatsMask:(unsigned)mask;
- (_ANEInMemoryModelDescriptor*)descriptor;
- (void)setDescriptor:(_ANEInMemoryModelDescriptor*)descriptor;

@end

long ane_model_folders(void);
