// The connection to the daemon: models from a client's own folders, by the sequence of FT and AN.
#import <Foundation/Foundation.h>

#include "../system/faults.h"
#import "bundle.h"
#import "compiler.h"
#import "errors.h"
#import "model.h"
#import "sha256.h"

@interface _ANEClient : NSObject
@end

// The folder of the text: modelURL names it, or its model.mil.
static NSString* folder_of(_ANEModel* model) {
    NSString* const path = [[model modelURL] path];
    return [[path lastPathComponent] isEqual:@"model.mil"] ? [path stringByDeletingLastPathComponent] : path;
}

// Compiled programs are known by where they lie, and under what key.
static NSString* cache_key(_ANEModel* model) {
    NSString* const place = [NSString stringWithFormat:@"%@|%@", [[model modelURL] path], [model key]];
    return ane_hash_of([place dataUsingEncoding:NSUTF8StringEncoding]);
}

// Without a type the daemon takes the folder for a network of Espresso's, which MIL is not. (DE)
static BOOL is_mil(NSDictionary* options, NSError** error) {
    if ([[options objectForKey:@"kANEFModelType"] isEqual:@"kANEFModelMIL"]) return YES;
    return ane_fail_espresso(error, @"_ANEEspressoIRTranslator : no model.espresso.net");
}

static ANEStandinProgram* compile(_ANEModel* model, NSError** error) {
    if (!ane_verify_bundle(folder_of(model), nil, error)) return nil;
    NSString* reason = nil;
    ANEStandinProgram* const program = ane_compile(cache_key(model), folder_of(model), &reason);
    if (!program) ane_fail_compile(error, reason);
    return program;
}

@implementation _ANEClient

+ (id)sharedConnection {
    static _ANEClient* shared;
    @synchronized(self) {
        if (!shared) shared = [self new];
    }
    return shared;
}

- (BOOL)isVirtualClient {
    return NO;
}

// Needs an entitlement. (H3)
- (BOOL)beginRealTimeTask {
    return NO;
}

- (BOOL)endRealTimeTask {
    return NO;
}

- (BOOL)compiledModelExistsFor:(_ANEModel*)model {
    return ane_cached_program(cache_key(model)) != nil;
}

- (void)purgeCompiledModel:(_ANEModel*)model {
    ane_purge_program(cache_key(model));
}

- (BOOL)compiledModelExistsMatchingHash:(NSString*)hash {
    return ane_cached_program(hash) != nil;
}

- (void)purgeCompiledModelMatchingHash:(NSString*)hash {
    ane_purge_program(hash);
}

// Compiles anew whatever is known of the place: its files may be others by now.
- (BOOL)compileModel:(_ANEModel*)model
             options:(NSDictionary*)options
                 qos:(unsigned)qos
               error:(NSError**)error {
    (void)qos;
    if (!is_mil(options, error)) return NO;
    if (!ane_claim_compile(ANE_ROUTE_CLIENT))
        return ane_fail_compile(error, @"CompilationFailure: this process has used its compiles");
    if (ane_fault_strikes(ANE_FAULT_COMPILE_FAILS))
        return ane_fail_compile(error, @"CompilationFailure: a test asked for it");
    ane_hang_if_asked("compile");
    ane_purge_program(cache_key(model));
    return compile(model, error) != nil;
}

- (BOOL)loadModel:(_ANEModel*)model options:(NSDictionary*)options qos:(unsigned)qos error:(NSError**)error {
    (void)qos;
    if (!is_mil(options, error)) return NO;
    ANEStandinProgram* known = ane_cached_program(cache_key(model));
    if (!known) known = compile(model, error);
    return known && [model load:known options:options error:error];
}

- (BOOL)mapIOSurfacesWithModel:(_ANEModel*)model
                       request:(_ANERequest*)request
                cacheInference:(BOOL)cache
                         error:(NSError**)error {
    (void)model, (void)cache;
    return [request validate] ||
           ane_fail(error, ANE_ERROR_SURFACE_MAP, @"IOSurface map failure: the request is not valid");
}

- (void)unmapIOSurfacesWithModel:(_ANEModel*)model request:(_ANERequest*)request {
    (void)model, (void)request;
}

- (BOOL)evaluateWithModel:(_ANEModel*)model
                  options:(NSDictionary*)options
                  request:(_ANERequest*)request
                      qos:(unsigned)qos
                    error:(NSError**)error {
    (void)qos;
    return [model evaluate:request options:options error:error];
}

- (BOOL)doEvaluateDirectWithModel:(_ANEModel*)model
                          options:(NSDictionary*)options
                          request:(_ANERequest*)request
                              qos:(unsigned)qos
                            error:(NSError**)error {
    (void)qos;
    return [model evaluate:request options:options error:error];
}

- (BOOL)unloadModel:(_ANEModel*)model
            options:(NSDictionary*)options
                qos:(unsigned)qos
              error:(NSError**)error {
    (void)options, (void)qos;
    return [model unload:error];
}

// Nobody has made it work. (DE, LA, ES)
- (BOOL)prepareChainingWithModel:(_ANEModel*)model
                         options:(NSDictionary*)options
                     chainingReq:(id)chain
                             qos:(unsigned)qos
                           error:(NSError**)error {
    (void)model, (void)options, (void)chain, (void)qos;
    return ane_fail(error, ANE_ERROR_CHAINING, @"ANEProgramChainingPrepare() Failed");
}

@end
