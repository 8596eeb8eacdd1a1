// The private framework's NSErrors. Each function sets *error, if there is one to set, and returns NO.
#import <Foundation/Foundation.h>

// Codes of the domain com.apple.appleneuralengine. (RE: _ANEErrors)
typedef enum AneErrorCode {
    ANE_ERROR_PROGRAM_LOAD = 6,
    ANE_ERROR_INFERENCE = 8,
    ANE_ERROR_INVALID_MODEL = 10,
    ANE_ERROR_SURFACE_MAP = 13,
    ANE_ERROR_CHAINING = 15,
    ANE_ERROR_HOST_TOO_OLD = 22,
    ANE_ERROR_PROGRAM_NOT_FOUND = 23,
    ANE_ERROR_BAD_ARGUMENT = 26,
    ANE_ERROR_CANCELLED = 34,      // (H3, macOS 27)
    ANE_ERROR_SMALL_SURFACE = 42,  // (PM, macOS 27)
    ANE_ERROR_NO_RESOURCES = 54    // (one log, M5 Max, macOS 27)
} AneErrorCode;

// Statuses of a failed evaluation, as observed.
typedef enum AneStatus {
    ANE_STATUS_WRONG_SYMBOL = 0x2,    // (AI M5)
    ANE_STATUS_UNKNOWN = 0x16,        // seen under CoreML, cause unknown
    ANE_STATUS_SMALL_SURFACE = 0x1d,  // (OR, FG, ZG, IM)
} AneStatus;

BOOL ane_fail(NSError** error, AneErrorCode code, NSString* text);
BOOL ane_fail_inference(NSError** error, AneStatus status);
// Too many programs are loaded: an underlying 0x5.
BOOL ane_fail_resources(NSError** error);
// Code -1 of the domain for networks that are not MIL.
BOOL ane_fail_espresso(NSError** error, NSString* text);
// `reason` begins with InvalidMILProgram or CompilationFailure.
BOOL ane_fail_compile(NSError** error, NSString* reason);
