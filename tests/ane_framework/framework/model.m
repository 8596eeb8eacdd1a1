#import "model.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../system/faults.h"
#import "compiler.h"
#import "errors.h"

enum { state_new = 0, state_loaded = 3 };  // (RE)

static atomic_long live_models, loaded_models, evaluations;
static atomic_ullong last_handle;

// Folders of models, each counted once for every live model and for every dead one that left it behind.
static pthread_mutex_t folders_in_use = PTHREAD_MUTEX_INITIALIZER;
static NSCountedSet* folders;

long ane_models_live(void) { return live_models; }
long ane_models_loaded(void) { return loaded_models; }
long ane_evaluations(void) { return evaluations; }
void ane_forget_evaluations(void) { evaluations = 0; }

static BOOL exists(NSString* path) { return [[NSFileManager defaultManager] fileExistsAtPath:path]; }

long ane_model_folders(void) {
    long count = 0;
    pthread_mutex_lock(&folders_in_use);
    for (NSString* folder in folders) count += exists(folder);
    pthread_mutex_unlock(&folders_in_use);
    return count;
}

static void note_folder(NSString* folder) {
    pthread_mutex_lock(&folders_in_use);
    if (!folders) folders = [NSCountedSet new];
    [folders addObject:folder];
    pthread_mutex_unlock(&folders_in_use);
}

static void forget_folder(NSString* folder) {
    pthread_mutex_lock(&folders_in_use);
    if (folder && !exists(folder)) [folders removeObject:folder];
    pthread_mutex_unlock(&folders_in_use);
}

@implementation _ANEInMemoryModel

+ (id)inMemoryModelWithDescriptor:(_ANEInMemoryModelDescriptor*)described {
    if (!described || ane_fault_strikes(ANE_FAULT_MODEL_NIL)) return nil;
    _ANEInMemoryModel* const model = [[self new] autorelease];
    model->descriptor = [described retain];
    NSString* const folder = [model localModelPath];  // nil where the temporary folder does not exist
    if (!folder) return nil;
    note_folder(folder);
    return model;
}

- (id)init {
    self = [super init];
    if (self) {
        pthread_mutex_init(&in_use, NULL);
        ++live_models;
    }
    return self;
}

// Neither unloads nor removes the folder: that is the client's business.
- (void)dealloc {
    NSAutoreleasePool* const pool = [NSAutoreleasePool new];
    forget_folder([self localModelPath]);
    [pool release];
    [descriptor release];
    [program release];
    pthread_mutex_destroy(&in_use);
    --live_models;
    [super dealloc];
}

- (NSString*)hexStringIdentifier {
    return [descriptor hexStringIdentifier];
}

- (NSString*)localModelPath {
    return [NSTemporaryDirectory() stringByAppendingPathComponent:[self hexStringIdentifier]];
}

// Not what the compiler reads: the text under another name, and every blob as "data", one over the other.
// (RE; seen on disk by DE)
- (BOOL)saveModelFiles {
    NSString* const folder = [self localModelPath];
    BOOL saved = [[NSFileManager defaultManager] createDirectoryAtPath:folder
                                           withIntermediateDirectories:YES
                                                            attributes:nil
                                                                 error:NULL];
    saved = saved && [[descriptor milText] writeToFile:[folder stringByAppendingPathComponent:@"net.plist"]
                                            atomically:NO];
    for (NSDictionary* weight in [[descriptor weights] objectEnumerator])
        saved = saved && [ane_weight_blob(weight) writeToFile:[folder stringByAppendingPathComponent:@"data"]
                                                   atomically:NO];
    return saved;
}

- (BOOL)compiledModelExists {
    return ane_cached_program([self hexStringIdentifier]) != nil;
}

- (void)purgeCompiledModel {
    ane_purge_program([self hexStringIdentifier]);
}

// Compiles from the folder and keeps the program.
- (BOOL)compileFilesWithError:(NSError**)error {
    if (![self saveModelFiles])
        return ane_fail_compile(error, @"CompilationFailure: cannot write the model's folder");
    NSString* reason = nil;
    ANEStandinProgram* const compiled = ane_compile(descriptor, [self localModelPath], &reason);
    if (!compiled) return ane_fail_compile(error, reason);
    [compiled retain];
    [program release];
    program = compiled;
    return YES;
}

- (BOOL)folderHoldsText {
    NSString* const file = [[self localModelPath] stringByAppendingPathComponent:@"model.mil"];
    const BOOL readable = [[NSFileManager defaultManager] isReadableFileAtPath:file];
    return readable && [[NSData dataWithContentsOfFile:file] isEqual:[descriptor milText]];
}

// ANE_STANDIN_HANG=compile or load: such a call never returns; with =compile:N the first N compiles, or loads
// after them, do.
static void hang_if_asked(const char* call) {
    const char* const asked = getenv("ANE_STANDIN_HANG");
    const size_t length = strlen(call);
    if (!asked || strncmp(asked, call, length) != 0) return;
    if (asked[length] == ':' && ane_compiles_claimed() <= atol(asked + length + 1)) return;
    for (;;) pause();
}

// The folder must have been filled by the caller, as every published one does. (MX, DE, IM)
- (BOOL)compileWithQoS:(unsigned)qos options:(NSDictionary*)options error:(NSError**)error {
    (void)qos, (void)options;
    if (!ane_claim_compile())
        return ane_fail_compile(error, @"CompilationFailure: this process has used its compiles");
    if (ane_fault_strikes(ANE_FAULT_COMPILE_FAILS))
        return ane_fail_compile(error, @"CompilationFailure: a test asked for it");
    if (![self folderHoldsText])
        return ane_fail_compile(error,
                                @"InvalidMILProgram: the model's folder has no model.mil with its text");
    hang_if_asked("compile");
    pthread_mutex_lock(&in_use);
    const BOOL compiled = [self compileFilesWithError:error];
    pthread_mutex_unlock(&in_use);
    return compiled;
}

// A program that is known by its hash is loaded as it is (RE); another one is compiled, and not counted (IM).
- (BOOL)loadProgramWithError:(NSError**)error {
    if (state == state_loaded) return YES;
    if (ane_fault_strikes(ANE_FAULT_LOAD_FAILS) || ane_fault_strikes(ANE_FAULT_LOAD_FAILS_ONCE))
        return ane_fail(error, ANE_ERROR_PROGRAM_LOAD, @"_ANEProgramLoad: Program load failure (0xe00002bc)");
    if (!program) program = [ane_cached_program([self hexStringIdentifier]) retain];
    if (!program && ![self compileFilesWithError:error]) return NO;
    programHandle = ++last_handle;
    state = state_loaded;
    ++loaded_models;
    return YES;
}

- (BOOL)loadWithQoS:(unsigned)qos options:(NSDictionary*)options error:(NSError**)error {
    (void)qos, (void)options;
    usleep((useconds_t)(1000 * ane_fault_value(ANE_FAULT_SLOW_LOAD)));
    hang_if_asked("load");
    pthread_mutex_lock(&in_use);
    const BOOL loaded = [self loadProgramWithError:error];
    pthread_mutex_unlock(&in_use);
    return loaded;
}

- (BOOL)evaluateWithQoS:(unsigned)qos
                options:(NSDictionary*)options
                request:(_ANERequest*)request
                  error:(NSError**)error {
    (void)qos, (void)options;
    ++evaluations;
    if (ane_fault_strikes(ANE_FAULT_RAISE_EXCEPTION))
        [NSException raise:NSInternalInconsistencyException format:@"a test asked for it"];
    if (ane_fault_strikes(ANE_FAULT_EVALUATE_FAILS) || ane_fault_strikes(ANE_FAULT_EVALUATE_FAILS_AFTER))
        return ane_fail_inference(error, ANE_STATUS_UNKNOWN);
    if (![request isKindOfClass:[_ANERequest class]])
        return ane_fail(error, ANE_ERROR_BAD_ARGUMENT, @"_ANEInMemoryModel: no request to evaluate");
    pthread_mutex_lock(&in_use);
    const BOOL done = state == state_loaded
                          ? [request evaluateOn:program error:error]
                          : ane_fail(error, ANE_ERROR_PROGRAM_NOT_FOUND, @"_ANEInMemoryModel: not loaded");
    pthread_mutex_unlock(&in_use);
    return done;
}

// Also removes the folder. (RE)
- (BOOL)unloadWithQoS:(unsigned)qos error:(NSError**)error {
    (void)qos;
    const BOOL fails = ane_fault_strikes(ANE_FAULT_UNLOAD_FAILS);
    pthread_mutex_lock(&in_use);
    const BOOL was_loaded = state == state_loaded;
    if (was_loaded) {
        state = state_new;
        programHandle = 0;
        --loaded_models;
        if (!fails) [[NSFileManager defaultManager] removeItemAtPath:[self localModelPath] error:NULL];
    }
    pthread_mutex_unlock(&in_use);
    if (was_loaded && !fails) return YES;
    return ane_fail(error, ANE_ERROR_PROGRAM_NOT_FOUND,
                    fails ? @"_ANEInMemoryModel: a test asked for it" : @"_ANEInMemoryModel: not loaded");
}

// Always fails for a model from memory. (LA)
- (BOOL)mapIOSurfacesWithRequest:(_ANERequest*)request cacheInference:(BOOL)cache error:(NSError**)error {
    (void)request, (void)cache;
    return ane_fail(error, ANE_ERROR_SURFACE_MAP, @"IOSurface map failure (0x12)");
}

- (NSDictionary*)modelAttributes {
    if (state != state_loaded || ane_fault_strikes(ANE_FAULT_ATTRIBUTES_MISSING)) return nil;
    return [program modelAttributes];
}

- (uint64_t)state {
    return state;
}

- (uint64_t)programHandle {
    return programHandle;
}

// Always 0 for a model from memory. (DE, LA)
- (uint64_t)intermediateBufferHandle {
    return 0;
}

- (int8_t)queueDepth {
    return 127;
}

- (unsigned)perfStatsMask {
    return perfStatsMask;
}

// Read back, and of no effect: clients like us get no statistics. (DE, LA)
- (void)setPerfStatsMask:(unsigned)mask {
    perfStatsMask = mask;
}

- (_ANEInMemoryModelDescriptor*)descriptor {
    return descriptor;
}

@end
