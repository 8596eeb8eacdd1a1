// The private framework's NSErrors. Each function sets *error, if there is one to set, and returns NO.
#import <Foundation/Foundation.h>

// Codes of the domain com.apple.appleneuralengine. (RE: _ANEErrors)
typedef enum AneErrorCode {
    ANE_ERROR_PROGRAM_LOAD = 6,
    ANE_ERROR_INFERENCE = 8,
    ANE_ERROR_SURFACE_MAP = 13,
    ANE_ERROR_PROGRAM_NOT_FOUND = 23,
    ANE_ERROR_BAD_ARGUMENT = 26
} AneErrorCode;

// Statuses of a failed evaluation, as observed.
typedef enum AneStatus {
    ANE_STATUS_WRONG_SYMBOL = 0x2,    // (AI M5)
    ANE_STATUS_UNKNOWN = 0x16,        // seen under CoreML, cause unknown
    ANE_STATUS_SMALL_SURFACE = 0x1d,  // (OR, FG, ZG, IM)
} AneStatus;

BOOL ane_fail(NSError** error, AneErrorCode code, NSString* text);
BOOL ane_fail_inference(NSError** error, AneStatus status);
// `reason` begins with InvalidMILProgram or CompilationFailure.
BOOL ane_fail_compile(NSError** error, NSString* reason);
