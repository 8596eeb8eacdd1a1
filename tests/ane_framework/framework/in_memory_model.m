#import "in_memory_model.h"

#include "../system/faults.h"
#import "bundle.h"
#import "compiler.h"
#import "errors.h"
#import "sha256.h"

// Folders of models, each counted once for every live model and for every dead one that left it behind.
static pthread_mutex_t folders_in_use = PTHREAD_MUTEX_INITIALIZER;
static NSCountedSet* folders;

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

// An object even without a descriptor. (RE)
+ (id)inMemoryModelWithDescriptor:(_ANEInMemoryModelDescriptor*)described {
    if (ane_fault_strikes(ANE_FAULT_MODEL_NIL)) return nil;
    _ANEInMemoryModel* const wrapper = [[self new] autorelease];
    wrapper->descriptor = [described retain];
    wrapper->hexStringIdentifier = [[described hexStringIdentifier] copy];
    wrapper->perFileHashes = described ? [described->perFileHashes copy] : nil;
    NSString* const folder = [wrapper localModelPath];  // nil where the temporary folder does not exist
    if (folder) note_folder(folder);
    return wrapper;
}

- (id)init {
    self = [super init];
    if (self) {
        pthread_mutex_init(&in_use, NULL);
        ane_count_model(1);
    }
    return self;
}

// Neither unloads nor removes the folder: that is the client's business.
- (void)dealloc {
    NSAutoreleasePool* const pool = [NSAutoreleasePool new];
    forget_folder([self localModelPath]);
    [pool release];
    [descriptor release];
    [hexStringIdentifier release];
    [perFileHashes release];
    [modelURL release];
    [model release];
    pthread_mutex_destroy(&in_use);
    ane_count_model(-1);
    [super dealloc];
}

- (NSString*)hexStringIdentifier {
    return hexStringIdentifier;
}

- (NSDictionary*)perFileHashes {
    return perFileHashes;
}

- (NSString*)localModelPath {
    NSString* const name = [self hexStringIdentifier];
    return name ? [NSTemporaryDirectory() stringByAppendingPathComponent:name] : nil;
}

- (NSURL*)modelURL {
    return modelURL;
}

- (void)setModelURL:(NSURL*)url {
    [url retain];
    [modelURL release];
    modelURL = url;
}

static BOOL write_in(NSString* folder, NSString* name, NSData* data) {
    return [data writeToFile:[folder stringByAppendingPathComponent:name] atomically:NO];
}

// Not what the compiler reads: the text under another name, and every blob as "data", one over the other. The
// descriptor is let go, so that they are written once. (RE; seen on disk by DE)
- (NSURL*)saveModelFiles {
    if (!descriptor) return modelURL;
    NSString* const folder = [self localModelPath];
    BOOL saved = [[NSFileManager defaultManager] createDirectoryAtPath:folder
                                           withIntermediateDirectories:YES
                                                            attributes:nil
                                                                 error:NULL];
    saved = saved && write_in(folder, @"net.plist", [descriptor milText]);
    for (NSDictionary* weight in [[descriptor weights] objectEnumerator])
        saved = saved && write_in(folder, @"data", ane_weight_blob(weight));
    if (!saved) return nil;
    if (!modelURL) [self setModelURL:[NSURL fileURLWithPath:folder]];
    [self setDescriptor:nil];
    return modelURL;
}

- (BOOL)compiledModelExists {
    return ane_cached_program([self hexStringIdentifier]) != nil;
}

- (void)purgeCompiledModel {
    ane_purge_program([self hexStringIdentifier]);
}

// The folder must have been filled by the caller, as every published one does. (MX, DE, IM) The text's hash
// comes first in the model's name.
- (BOOL)isStaged:(NSError**)error {
    NSString* const folder = modelURL ? [modelURL path] : [self localModelPath];
    NSData* const text = [ane_bundle_files(folder) objectForKey:@"model.mil"];
    if (text && [hexStringIdentifier hasPrefix:ane_hash_of(text)]) return YES;
    if (ane_standin_os() < 27)
        return ane_fail_compile(error,
                                @"InvalidMILProgram: the model's folder has no model.mil with its text");
    return ane_fail(error, ANE_ERROR_INVALID_MODEL, @"verifyBundleAtPath: invalid model");
}

- (ANEStandinProgram*)compileFiles:(NSError**)error {
    if (![self isStaged:error]) return nil;
    NSString* const folder = [[self saveModelFiles] path];
    NSString* reason = @"CompilationFailure: cannot write the model's folder";
    if (folder && !ane_verify_bundle(folder, perFileHashes, error)) return nil;
    ANEStandinProgram* const compiled =
        folder ? ane_compile([self hexStringIdentifier], folder, &reason) : nil;
    if (!compiled) ane_fail_compile(error, reason);
    return compiled;
}

- (_ANEModel*)openModel {
    if (!model) model = [[_ANEModel partAtURL:modelURL key:[self hexStringIdentifier]] retain];
    return model;
}

- (BOOL)compileWithQoS:(unsigned)qos options:(NSDictionary*)options error:(NSError**)error {
    (void)qos, (void)options;
    if (!ane_claim_compile(ANE_ROUTE_MEMORY))
        return ane_fail_compile(error, @"CompilationFailure: this process has used its compiles");
    if (ane_fault_strikes(ANE_FAULT_COMPILE_FAILS))
        return ane_fail_compile(error, @"CompilationFailure: a test asked for it");
    ane_hang_if_asked("compile");
    pthread_mutex_lock(&in_use);
    const BOOL compiled = [self compileFiles:error] != nil;
    if (compiled) [self openModel];
    pthread_mutex_unlock(&in_use);
    return compiled;
}

// A program that is known by its hash is loaded as it is (RE); another one is compiled, and not counted (IM).
// On macOS 27, files that are there must still be those that were described.
- (BOOL)loadProgram:(NSDictionary*)options error:(NSError**)error {
    NSString* const folder = [modelURL path];
    if (folder && exists(folder) && !ane_verify_bundle(folder, perFileHashes, error)) return NO;
    ANEStandinProgram* known = [[self openModel] program];
    if (!known) known = ane_cached_program([self hexStringIdentifier]);
    if (!known) known = [self compileFiles:error];
    return known && [model load:known options:options error:error];
}

- (BOOL)loadWithQoS:(unsigned)qos options:(NSDictionary*)options error:(NSError**)error {
    (void)qos;
    pthread_mutex_lock(&in_use);
    const BOOL loaded = [self loadProgram:options error:error];
    pthread_mutex_unlock(&in_use);
    return loaded;
}

- (BOOL)evaluateWithQoS:(unsigned)qos
                options:(NSDictionary*)options
                request:(_ANERequest*)request
                  error:(NSError**)error {
    (void)qos;
    if (!model) return ane_fail(error, ANE_ERROR_PROGRAM_NOT_FOUND, @"_ANEInMemoryModel: not loaded");
    return [model evaluate:request options:options error:error];
}

// Also removes the folder, even if the unload fails. (RE)
- (BOOL)unloadWithQoS:(unsigned)qos error:(NSError**)error {
    (void)qos;
    pthread_mutex_lock(&in_use);
    if (!model) ane_fail(error, ANE_ERROR_PROGRAM_NOT_FOUND, @"_ANEInMemoryModel: not loaded");
    const BOOL unloaded = [model unload:error];
    if ([modelURL path]) [[NSFileManager defaultManager] removeItemAtPath:[modelURL path] error:NULL];
    pthread_mutex_unlock(&in_use);
    return unloaded;
}

// Always fails for a model from memory. (LA)
- (BOOL)mapIOSurfacesWithRequest:(_ANERequest*)request cacheInference:(BOOL)cache error:(NSError**)error {
    (void)request, (void)cache;
    return ane_fail(error, ANE_ERROR_SURFACE_MAP, @"IOSurface map failure (0x12)");
}

- (_ANEModel*)model {
    return model;
}

- (ANEStandinProgram*)program {
    return [model program];
}

// The wrapper's own method asks its attributes for something that they are not. (PM, macOS 27)
- (NSDictionary*)modelAttributes {
    if (ane_standin_os() >= 27 && [model program])
        [NSException raise:NSInvalidArgumentException format:@"-externConstants: unrecognized selector"];
    return model ? [model modelAttributes] : @{};
}

- (uint64_t)state {
    return [model programHandle] ? [model state] : 0;
}

- (uint64_t)programHandle {
    return [model programHandle];
}

- (uint64_t)intermediateBufferHandle {
    return [model intermediateBufferHandle];
}

- (int8_t)queueDepth {
    return [model queueDepth];
}

- (unsigned)perfStatsMask {
    return [model perfStatsMask];
}

- (void)setPerfStatsMask:(unsigned)mask {
    [model setPerfStatsMask:mask];
}

- (_ANEInMemoryModelDescriptor*)descriptor {
    return descriptor;
}

- (void)setDescriptor:(_ANEInMemoryModelDescriptor*)other {
    [other retain];
    [descriptor release];
    descriptor = other;
}

@end
