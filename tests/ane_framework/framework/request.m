#import "request.h"

#include <stdatomic.h>

#include "../system/faults.h"
#include "../system/surfaces.h"
#import "errors.h"

enum { max_surfaces = 255, max_symbol = 254, max_procedure = 128, statistics_types = 3 };  // (RE)

static atomic_long live_requests;

long ane_requests_live(void) { return live_requests; }

@implementation _ANEIOSurfaceObject

+ (id)objectWithIOSurface:(IOSurfaceRef)surface {
    return [self objectWithIOSurface:surface startOffset:@0];
}

+ (id)objectWithIOSurface:(IOSurfaceRef)surface startOffset:(NSNumber*)offset {
    if (!surface) return nil;
    _ANEIOSurfaceObject* const object = [[self new] autorelease];
    object->ioSurface = (IOSurfaceRef)CFRetain(surface);
    object->startOffset = [offset retain];
    return object;
}

- (void)dealloc {
    if (ioSurface) CFRelease(ioSurface);
    [startOffset release];
    [super dealloc];
}

- (IOSurfaceRef)ioSurface {
    return ioSurface;
}

// Kept, but the engine begins at byte 0 whatever it says. (LA)
- (NSNumber*)startOffset {
    return startOffset;
}

@end

static BOOL are_valid(NSArray* surfaces, NSArray* indices) {
    if ([surfaces count] < 1 || [surfaces count] > max_surfaces || [surfaces count] != [indices count])
        return NO;
    for (id surface in surfaces)
        if (![surface isKindOfClass:[_ANEIOSurfaceObject class]]) return NO;
    for (id index in indices)
        if (![index isKindOfClass:[NSNumber class]] || [index longLongValue] < 0 ||
            [index longLongValue] > max_symbol)
            return NO;
    return YES;
}

// Puts the surfaces' memory into the engine's order. A symbol that the program lacks, or that has no surface
// or two, is status 0x2 (AI); a surface that is smaller than its port is 0x1d (OR, FG, ZG), and code 42 on
// macOS 27 (PM, without the text).
static BOOL place(ANEStandinProgram* program, AneEngineSide side, NSArray* surfaces, NSArray* indices,
                  AneEngineMemory* memory, NSError** error) {
    const size_t count = ane_engine_port_count([program engine], side);
    if ([surfaces count] != count) return ane_fail_inference(error, ANE_STATUS_WRONG_SYMBOL);
    for (size_t i = 0; i < count; ++i) {
        const size_t symbol = [[indices objectAtIndex:i] unsignedIntegerValue];
        const IOSurfaceRef surface = [(_ANEIOSurfaceObject*)[surfaces objectAtIndex:i] ioSurface];
        if (symbol >= count || memory[symbol].data) return ane_fail_inference(error, ANE_STATUS_WRONG_SYMBOL);
        if (IOSurfaceGetAllocSize(surface) < ane_engine_port([program engine], side, symbol)->bytes)
            return ane_standin_os() >= 27
                       ? ane_fail(error, ANE_ERROR_SMALL_SURFACE, @"_ANERequest: a surface is too small")
                       : ane_fail_inference(error, ANE_STATUS_SMALL_SURFACE);
        memory[symbol] = (AneEngineMemory){IOSurfaceGetBaseAddress(surface), IOSurfaceGetAllocSize(surface)};
    }
    return YES;
}

static void enter_device(NSArray* surfaces) {
    for (_ANEIOSurfaceObject* surface in surfaces) ane_surface_enters_device([surface ioSurface]);
}

@implementation _ANERequest

+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
          weightsBuffer:(id)weights
              perfStats:(NSArray*)stats
         procedureIndex:(NSNumber*)procedure {
    if (ane_fault_strikes(ANE_FAULT_REQUEST_NIL)) return nil;
    _ANERequest* const request = [[self new] autorelease];
    request->inputArray = [inputs copy];
    request->inputIndexArray = [inputIndices copy];
    request->outputArray = [outputs copy];
    request->outputIndexArray = [outputIndices copy];
    request->weightsBuffer = [weights retain];
    request->perfStatsArray = [stats retain];
    request->procedureIndex = [procedure retain];
    return request;
}

+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
          weightsBuffer:(id)weights
         procedureIndex:(NSNumber*)procedure {
    return [self requestWithInputs:inputs
                      inputIndices:inputIndices
                           outputs:outputs
                     outputIndices:outputIndices
                     weightsBuffer:weights
                         perfStats:nil
                    procedureIndex:procedure];
}

+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
              perfStats:(NSArray*)stats
         procedureIndex:(NSNumber*)procedure {
    return [self requestWithInputs:inputs
                      inputIndices:inputIndices
                           outputs:outputs
                     outputIndices:outputIndices
                     weightsBuffer:nil
                         perfStats:stats
                    procedureIndex:procedure];
}

+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
         procedureIndex:(NSNumber*)procedure {
    return [self requestWithInputs:inputs
                      inputIndices:inputIndices
                           outputs:outputs
                     outputIndices:outputIndices
                     weightsBuffer:nil
                         perfStats:nil
                    procedureIndex:procedure];
}

+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
         procedureIndex:(NSNumber*)procedure
           sharedEvents:(id)events {
    return [self requestWithInputs:inputs
                      inputIndices:inputIndices
                           outputs:outputs
                     outputIndices:outputIndices
                    procedureIndex:procedure
                      sharedEvents:events
                 transactionHandle:nil];
}

+ (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
         procedureIndex:(NSNumber*)procedure
           sharedEvents:(id)events
      transactionHandle:(id)transaction {
    _ANERequest* const request = [self requestWithInputs:inputs
                                            inputIndices:inputIndices
                                                 outputs:outputs
                                           outputIndices:outputIndices
                                          procedureIndex:procedure];
    if (!request) return nil;
    request->sharedEvents = [events retain];
    request->transactionHandle = [transaction retain];
    return request;
}

- (id)init {
    self = [super init];
    if (self) {
        pthread_mutex_init(&running, NULL);
        ++live_requests;
    }
    return self;
}

- (void)dealloc {
    ane_engine_free_run(run);
    [program release];
    [inputArray release];
    [inputIndexArray release];
    [outputArray release];
    [outputIndexArray release];
    [weightsBuffer release];
    [sharedEvents release];
    [transactionHandle release];
    [perfStatsArray release];
    [perfStats release];
    [procedureIndex release];
    pthread_mutex_destroy(&running);
    --live_requests;
    [super dealloc];
}

- (NSArray*)inputArray {
    return inputArray;
}

- (NSArray*)inputIndexArray {
    return inputIndexArray;
}

- (NSArray*)outputArray {
    return outputArray;
}

- (NSArray*)outputIndexArray {
    return outputIndexArray;
}

- (NSNumber*)procedureIndex {
    return procedureIndex;
}

- (NSArray*)perfStatsArray {
    return perfStatsArray;
}

// Nil unless the machine gives statistics. (DE, LA)
- (_ANEPerformanceStats*)perfStats {
    return perfStats;
}

- (void)setPerfStats:(_ANEPerformanceStats*)given {
    [given retain];
    [perfStats release];
    perfStats = given;
}

// Asks the statistics for their count, so that any object but an array raises. (RE; PM, macOS 27)
static BOOL are_statistics(NSArray* offered) {
    unsigned seen = 0;
    for (NSUInteger i = 0; i < [offered count]; ++i) {
        const int64_t type = [(_ANEPerformanceStatsIOSurface*)[offered objectAtIndex:i] statType];
        if (type < 0 || type >= statistics_types || seen & 1u << type) return NO;
        seen |= 1u << type;
    }
    return YES;
}

// weightsBuffer may be anything: the engine does not use it. (MX M5, IM)
- (BOOL)validate {
    return are_valid(inputArray, inputIndexArray) && are_valid(outputArray, outputIndexArray) &&
           are_statistics(perfStatsArray) && [procedureIndex isKindOfClass:[NSNumber class]] &&
           [procedureIndex longLongValue] >= 0 && [procedureIndex longLongValue] <= max_procedure;
}

@end

@implementation _ANERequest (Evaluation)

- (BOOL)bindTo:(ANEStandinProgram*)wanted error:(NSError**)error {
    if (![self validate])
        return ane_fail(error, ANE_ERROR_BAD_ARGUMENT, @"_ANERequest: the request is not valid");
    AneEngineMemory inputs[max_surfaces] = {0}, outputs[max_surfaces] = {0};
    if (!place(wanted, ANE_ENGINE_INPUTS, inputArray, inputIndexArray, inputs, error)) return NO;
    if (!place(wanted, ANE_ENGINE_OUTPUTS, outputArray, outputIndexArray, outputs, error)) return NO;
    char* failure = NULL;
    AneEngineRun* const bound = ane_engine_bind([wanted engine], inputs, outputs, &failure);
    if (!bound) return ane_fail(error, ANE_ERROR_INFERENCE, ane_take_text(failure));
    ane_engine_free_run(run);
    run = bound;
    [wanted retain];
    [program release];
    program = wanted;
    return YES;
}

// Events that are signaled or waited for crash a model from memory (KB) or hang it (ES): here they raise. Any
// procedureIndex runs the one function that there is. (MX M5)
- (BOOL)runOn:(ANEStandinProgram*)wanted error:(NSError**)error {
    if (sharedEvents)
        [NSException raise:NSInternalInconsistencyException format:@"shared events crash engines"];
    if (program != wanted && ![self bindTo:wanted error:error]) return NO;
    enter_device(inputArray);
    enter_device(outputArray);
    char* failure = NULL;
    if (ane_engine_evaluate(run, &failure)) return YES;
    return ane_fail(error, ANE_ERROR_INFERENCE, ane_take_text(failure));
}

- (BOOL)evaluateOn:(ANEStandinProgram*)wanted error:(NSError**)error {
    pthread_mutex_lock(&running);
    const BOOL done = [self runOn:wanted error:error];
    pthread_mutex_unlock(&running);
    return done;
}

@end
