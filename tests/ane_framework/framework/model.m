#import "model.h"

#include <stdatomic.h>
#include <unistd.h>

#include "../system/faults.h"
#import "compiler.h"
#import "errors.h"

enum {
    state_created = 1,
    state_loaded = 3,            // (RE)
    loaded_at_most = 132,        // on macOS 27 (one log, M5 Max); counts of 127 to 226 are reported too
    queue_depth = 127,           // (DE, AI, LA)
    statistics_mask_bits = 0xf,  // which the driver keeps (AG)
};

static atomic_long live_models, loaded_models, evaluations;
static atomic_ullong last_handle;

long ane_models_live(void) { return live_models; }
void ane_count_model(long change) { live_models += change; }
long ane_models_loaded(void) { return loaded_models; }
long ane_evaluations(void) { return evaluations; }
void ane_forget_evaluations(void) { evaluations = 0; }

@implementation _ANEModel

+ (_ANEModel*)partAtURL:(NSURL*)url key:(NSString*)name {
    _ANEModel* const model = [[self new] autorelease];
    model->modelURL = [url retain];
    model->key = [name copy];
    return model;
}

+ (id)modelAtURL:(NSURL*)url key:(NSString*)name {
    if (!url) return nil;
    _ANEModel* const model = [self partAtURL:url key:name];
    model->is_counted = YES;
    ane_count_model(1);
    return model;
}

- (id)init {
    self = [super init];
    if (self) {
        state = state_created;
        pthread_mutex_init(&in_use, NULL);
    }
    return self;
}

- (void)dealloc {
    if (is_counted) ane_count_model(-1);
    [modelURL release];
    [key release];
    [program release];
    pthread_mutex_destroy(&in_use);
    [super dealloc];
}

- (NSURL*)modelURL {
    return modelURL;
}

- (NSString*)key {
    return key;
}

- (ANEStandinProgram*)program {
    return program;
}

- (uint64_t)state {
    return state;
}

- (uint64_t)programHandle {
    return programHandle;
}

// Always 0 for MIL. (DE, LA)
- (uint64_t)intermediateBufferHandle {
    return 0;
}

- (int8_t)queueDepth {
    return program ? queue_depth : 0;
}

- (unsigned)perfStatsMask {
    return perfStatsMask;
}

- (void)setPerfStatsMask:(unsigned)mask {
    perfStatsMask = mask;
}

- (NSDictionary*)modelAttributes {
    if (ane_fault_strikes(ANE_FAULT_ATTRIBUTES_MISSING)) return nil;
    return program ? [program modelAttributes] : @{};
}

- (NSIndexSet*)symbols:(AneEngineSide)side of:(unsigned)procedure {
    const size_t count = program && procedure == 0 ? ane_engine_port_count([program engine], side) : 0;
    return [NSIndexSet indexSetWithIndexesInRange:NSMakeRange(0, count)];
}

- (NSIndexSet*)inputSymbolIndicesForProcedureIndex:(unsigned)procedure {
    return [self symbols:ANE_ENGINE_INPUTS of:procedure];
}

- (NSIndexSet*)outputSymbolIndicesForProcedureIndex:(unsigned)procedure {
    return [self symbols:ANE_ENGINE_OUTPUTS of:procedure];
}

@end

// A program that lacks what counts does not load with a mask that was not cleared. (AG)
static BOOL asks_for_statistics(NSDictionary* options) {
    return [[options objectForKey:@"kANEFPerformanceStatsMask"] unsignedIntValue] != 0;
}

// The daemon keeps the mask of a client like ours only on machines that allow it: a boot argument, or an
// entitlement (FT, AG).
static unsigned granted_mask(NSDictionary* options) {
    const id wanted = [options objectForKey:@"kANEFPerformanceStatsMask"];
    const BOOL granted = ane_fault_strikes(ANE_FAULT_GIVES_STATISTICS);
    return granted ? [wanted unsignedIntValue] & statistics_mask_bits : 0;
}

@implementation _ANEModel (Engine)

// A loaded model is loaded once more, and what the client set of it is overwritten. (RE)
- (BOOL)load:(ANEStandinProgram*)loaded options:(NSDictionary*)options error:(NSError**)error {
    usleep((useconds_t)(1000 * ane_fault_value(ANE_FAULT_SLOW_LOAD)));
    ane_hang_if_asked("load");
    const BOOL refused = asks_for_statistics(options) && ane_fault_strikes(ANE_FAULT_STATISTICS_REFUSED);
    if (refused || ane_fault_strikes(ANE_FAULT_LOAD_FAILS) || ane_fault_strikes(ANE_FAULT_LOAD_FAILS_ONCE))
        return ane_fail(error, ANE_ERROR_PROGRAM_LOAD, @"_ANEProgramLoad: Program load failure (0xe00002bc)");
    if (++loaded_models > loaded_at_most && ane_standin_os() >= 27) {
        --loaded_models;
        return ane_fail_resources(error);
    }
    pthread_mutex_lock(&in_use);
    [loaded retain];
    [program release];
    program = loaded;
    programHandle = ++last_handle;
    perfStatsMask = granted_mask(options);
    state = state_loaded;
    ++loads;
    pthread_mutex_unlock(&in_use);
    return YES;
}

// The statistics reach a request that offers a surface for them, if load and evaluation ask for them. (FT)
- (void)giveStatistics:(_ANERequest*)request options:(NSDictionary*)options {
    if (!(perfStatsMask & granted_mask(options)) || ![[options objectForKey:@"enableProfiling"] boolValue])
        return;
    _ANEPerformanceStatsIOSurface* const offered = [[request perfStatsArray] lastObject];
    if (offered) [request setPerfStats:ane_count_evaluation(offered)];
}

- (BOOL)evaluate:(_ANERequest*)request options:(NSDictionary*)options error:(NSError**)error {
    ++evaluations;
    if (ane_fault_strikes(ANE_FAULT_RAISE_EXCEPTION))
        [NSException raise:NSInternalInconsistencyException format:@"a test asked for it"];
    if (ane_fault_strikes(ANE_FAULT_VIRTUAL_MACHINE))
        return ane_fail(error, ANE_ERROR_HOST_TOO_OLD, @"_ANEVirtualClient: the host is too old");
    if (ane_fault_strikes(ANE_FAULT_EVALUATE_CANCELLED))
        return ane_fail(error, ANE_ERROR_CANCELLED, @"Request cancelled");
    if (ane_fault_strikes(ANE_FAULT_EVALUATE_FAILS) || ane_fault_strikes(ANE_FAULT_EVALUATE_FAILS_AFTER))
        return ane_fail_inference(error, ANE_STATUS_UNKNOWN);
    if (![request isKindOfClass:[_ANERequest class]])
        return ane_fail(error, ANE_ERROR_BAD_ARGUMENT, @"_ANEModel: no request to evaluate");
    pthread_mutex_lock(&in_use);
    const BOOL done = loads > 0 ? [request evaluateOn:program error:error]
                                : ane_fail(error, ANE_ERROR_PROGRAM_NOT_FOUND, @"_ANEModel: not loaded");
    if (done) [self giveStatistics:request options:options];
    pthread_mutex_unlock(&in_use);
    return done;
}

// State, handle, attributes and program stay. (RE)
- (BOOL)unload:(NSError**)error {
    const BOOL fails = ane_fault_strikes(ANE_FAULT_UNLOAD_FAILS);
    pthread_mutex_lock(&in_use);
    const BOOL was_loaded = loads > 0;
    if (was_loaded) {
        --loads;
        --loaded_models;
    }
    pthread_mutex_unlock(&in_use);
    if (was_loaded && !fails) return YES;
    return ane_fail(error, ANE_ERROR_PROGRAM_NOT_FOUND,
                    fails ? @"_ANEModel: a test asked for it" : @"_ANEModel: not loaded");
}

@end
