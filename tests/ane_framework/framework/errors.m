#import "errors.h"

#include "../system/faults.h"

static NSString* const generic_domain = @"com.apple.appleneuralengine";
static NSString* const espresso_domain = @"com.apple.appleneuralengine.espresso";
static NSString* const compiler_domain = @"com.apple.appleneuralengine.compiler";

static BOOL fail(NSError** error, NSError* value) {
    if (error && !ane_fault_strikes(ANE_FAULT_WITHOUT_ERROR)) *error = value;
    return NO;
}

BOOL ane_fail(NSError** error, AneErrorCode code, NSString* text) {
    return fail(error, [NSError errorWithDomain:generic_domain
                                           code:code
                                       userInfo:@{NSLocalizedDescriptionKey : text}]);
}

BOOL ane_fail_inference(NSError** error, AneStatus status) {
    return ane_fail(error, ANE_ERROR_INFERENCE,
                    [NSString stringWithFormat:@"ANEProgramProcessRequestDirect() Failed with status=0x%x : "
                                               @"statusType=0x9: Program Inference error",
                                               (unsigned)status]);
}

BOOL ane_fail_resources(NSError** error) {
    NSError* const underlying = [NSError errorWithDomain:generic_domain
                                                    code:5
                                                userInfo:@{NSLocalizedDescriptionKey : @"0x5"}];
    NSDictionary* const info =
        @{NSLocalizedDescriptionKey : @"no ANE resources", NSUnderlyingErrorKey : underlying};
    return fail(error, [NSError errorWithDomain:generic_domain code:ANE_ERROR_NO_RESOURCES userInfo:info]);
}

BOOL ane_fail_espresso(NSError** error, NSString* text) {
    return fail(error, [NSError errorWithDomain:espresso_domain
                                           code:-1
                                       userInfo:@{NSLocalizedDescriptionKey : text}]);
}

BOOL ane_fail_compile(NSError** error, NSString* reason) {
    NSError* const underlying = [NSError errorWithDomain:compiler_domain
                                                    code:1
                                                userInfo:@{NSLocalizedDescriptionKey : reason}];
    NSDictionary* const info = @{
        NSLocalizedDescriptionKey : @"_ANECompiler : ANECCompile() FAILED",
        NSUnderlyingErrorKey : underlying
    };
    return fail(error, [NSError errorWithDomain:compiler_domain code:1 userInfo:info]);
}
