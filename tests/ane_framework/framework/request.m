#import "request.h"

#include <stdatomic.h>

#include "../system/faults.h"
#include "../system/surfaces.h"
#import "errors.h"

enum { max_surfaces = 255, max_symbol = 254, max_procedure = 128 };  // (RE)

static atomic_long live_requests;

long ane_requests_live(void) { return live_requests; }

@implementation _ANEIOSurfaceObject

+ (id)objectWithIOSurface:(IOSurfaceRef)surface {
    return [self objectWithIOSurface:surface startOffset:nil];
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
// or two, is status 0x2 (AI); a surface that is smaller than its port is 0x1d (OR, FG, ZG).
static BOOL place(ANEStandinProgram* program, AneEngineSide side, NSArray* surfaces, NSArray* indices,
                  AneEngineMemory* memory, NSError** error) {
    const size_t count = ane_engine_port_count([program engine], side);
    if ([surfaces count] != count) return ane_fail_inference(error, ANE_STATUS_WRONG_SYMBOL);
    for (size_t i = 0; i < count; ++i) {
        const size_t symbol = [[indices objectAtIndex:i] unsignedIntegerValue];
        const IOSurfaceRef surface = [(_ANEIOSurfaceObject*)[surfaces objectAtIndex:i] ioSurface];
        if (symbol >= count || memory[symbol].data) return ane_fail_inference(error, ANE_STATUS_WRONG_SYMBOL);
        if (IOSurfaceGetAllocSize(surface) < ane_engine_port([program engine], side, symbol)->bytes)
            return ane_fail_inference(error, ANE_STATUS_SMALL_SURFACE);
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
              perfStats:(id)stats
         procedureIndex:(NSNumber*)procedure {
    if (ane_fault_strikes(ANE_FAULT_REQUEST_NIL)) return nil;
    _ANERequest* const request = [[self new] autorelease];
    request->inputArray = [inputs copy];
    request->inputIndexArray = [inputIndices copy];
    request->outputArray = [outputs copy];
    request->outputIndexArray = [outputIndices copy];
    request->weightsBuffer = [weights retain];
    request->perfStats = [stats retain];
    request->procedureIndex = [procedure retain];
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

// Nothing is ever added to what the client gave. (DE, LA)
- (id)perfStats {
    return perfStats;
}

// weightsBuffer and perfStats may be anything: the engine uses neither. (MX M5, IM; DE, LA)
- (BOOL)validate {
    return are_valid(inputArray, inputIndexArray) && are_valid(outputArray, outputIndexArray) &&
           [procedureIndex isKindOfClass:[NSNumber class]] && [procedureIndex longLongValue] >= 0 &&
           [procedureIndex longLongValue] <= max_procedure;
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

// Any procedureIndex runs the one function that there is. (MX M5)
- (BOOL)runOn:(ANEStandinProgram*)wanted error:(NSError**)error {
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
