// The private AppleNeuralEngine.framework as bridge.mm uses it: its classes, its errors, and how it is
// opened.
#pragma once

#import <Foundation/Foundation.h>
#import <IOSurface/IOSurface.h>

#include <exception>
#include <string>

#include "errors.h"

// The framework's classes, as far as they are used. Messages go through these protocols so that the compiler
// knows every signature; that the running system has the methods is checked before the first use.
@protocol AneRequest
- (id)perfStats;
@end
@protocol AnePerformanceStats
- (uint64_t)hwExecutionTime;
- (id)perfCounterData;
@end
@protocol AneStatisticsClass
- (id)objectWithIOSurface:(id)surfaceObject statType:(int64_t)statType;
@end
@protocol AneSurfaceObjectClass
- (id)objectWithIOSurface:(IOSurfaceRef)surface;
@end
@protocol AneRequestClass
- (id)requestWithInputs:(NSArray*)inputs
           inputIndices:(NSArray*)inputIndices
                outputs:(NSArray*)outputs
          outputIndices:(NSArray*)outputIndices
          weightsBuffer:(id)weightsBuffer
              perfStats:(id)perfStats
         procedureIndex:(NSNumber*)procedureIndex;
@end
@protocol AneDeviceInfoClass
- (BOOL)hasANE;
- (BOOL)isVirtualMachine;
- (unsigned int)numANEs;
- (unsigned int)numANECores;
- (NSString*)aneArchitectureType;
- (NSString*)aneSubType;
- (NSString*)productName;
- (NSString*)buildVersion;
@end

namespace ane {

// The framework's classes that every route takes. Class methods are sent to the class object, so each is an
// `id` of its class's protocol.
struct Framework {
    id<AneSurfaceObjectClass> surfaces;
    id<AneRequestClass> requests;
    id<AneDeviceInfoClass> device_info;
};

// Throws DeviceUnavailable, naming what the framework lacks.
Framework load_framework();

// The class of this name. These throw DeviceUnavailable, naming what the framework lacks.
Class require_class_method(const char* name, SEL selector);
void require_instance_method(const char* name, SEL selector);

inline CompileError compile_failure(const std::string& what) { return {"CompilationFailure", what}; }
inline EvaluateError evaluate_failure(const std::string& what) { return EvaluateError(what); }

// True if this process was forked from one in which load_framework succeeded. The framework's
// connections and threads stay with the parent, and what these held is held for ever here.
bool is_forked();
// Throws DeviceUnavailable in such a process.
void refuse_forked();

// UTF-8; empty for anything but a string.
std::string text_of(id object);
// "domain code: text; caused by ...", down to the first cause.
std::string describe(NSError* error);

// Runs `work` in an autorelease pool. C++ exceptions must not cross the pool's end, which would not be
// reached, and Objective-C exceptions become C++ ones that `failure` makes of their text. A forked process is
// refused.
template <typename Failure, typename Work>
void in_pool(const Failure& failure, const Work& work) {
    refuse_forked();
    std::exception_ptr thrown;
    @autoreleasepool {
        try {
            @try {
                work();
            } @catch (NSException* exception) {
                thrown = std::make_exception_ptr(failure("the framework raised " + text_of([exception name]) +
                                                         ": " + text_of([exception reason])));
            }
        } catch (...) {
            thrown = std::current_exception();
        }
    }
    if (thrown) std::rethrow_exception(thrown);
}

}  // namespace ane
