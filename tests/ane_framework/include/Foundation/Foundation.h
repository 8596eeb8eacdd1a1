// GNUstep's Foundation, and what macOS has in addition.
#pragma once
#include_next <Foundation/Foundation.h>

#include <CoreFoundation/CoreFoundation.h>

typedef NS_ENUM(NSInteger, NSProcessInfoThermalState) {
    NSProcessInfoThermalStateNominal,
    NSProcessInfoThermalStateFair,
    NSProcessInfoThermalStateSerious,
    NSProcessInfoThermalStateCritical
};

@interface NSProcessInfo (ANEStandinThermalState)
// The worst of the machine's thermal zones; nominal where there are none.
@property(readonly) NSProcessInfoThermalState thermalState;
@end
