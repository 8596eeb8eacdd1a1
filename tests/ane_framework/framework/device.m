// The machine as the framework describes it, and the classes that only name things.
#import <Foundation/Foundation.h>

#include "../system/faults.h"

@interface _ANEDeviceInfo : NSObject
@end

// An M4's architecture, for code that goes by it; everything that is shown to people says what this is.
@implementation _ANEDeviceInfo

+ (BOOL)hasANE {
    return YES;
}

+ (unsigned)numANEs {
    return 1;
}

+ (unsigned)numANECores {
    return 16;
}

+ (NSString*)aneArchitectureType {
    return @"h16g";
}

+ (NSString*)aneSubType {
    return @"h16";
}

+ (NSString*)aneSubTypeVariant {
    return @"g";
}

+ (NSString*)aneSubTypeAndVariant {
    return @"h16g";
}

+ (NSString*)aneSubTypeProductVariant {
    return @"";
}

// No Mac has board 0.
+ (int64_t)aneBoardType {
    return 0;
}

+ (NSString*)productName {
    return @"aneperf stand-in";
}

+ (NSString*)buildVersion {
    return @"stand-in";
}

+ (NSString*)bootArgs {
    return @"";
}

+ (BOOL)isInternalBuild {
    return NO;
}

+ (BOOL)isVirtualMachine {
    return ane_fault_strikes(ANE_FAULT_VIRTUAL_MACHINE);
}

+ (BOOL)isExcessivePowerDrainWhenIdle {
    return NO;
}

+ (BOOL)precompiledModelChecksDisabled {
    return NO;
}

@end

@interface _ANEQoSMapper : NSObject
@end

// Names for QoS values; the framework takes any other value too. (MX M5, ES, DE)
@implementation _ANEQoSMapper

+ (unsigned)aneRealTimeTaskQoS {
    return 0;
}

+ (unsigned)aneBackgroundTaskQoS {
    return 9;
}

+ (unsigned)aneUtilityTaskQoS {
    return 17;
}

+ (unsigned)aneDefaultTaskQoS {
    return 21;
}

+ (unsigned)aneUserInitiatedTaskQoS {
    return 25;
}

+ (unsigned)aneUserInteractiveTaskQoS {
    return 33;
}

+ (int)realTimeProgramPriority {
    return 2;
}

+ (uint64_t)realTimeQueueIndex {
    return 2;
}

@end
