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

typedef NS_OPTIONS(NSUInteger, NSDataReadingOptions) { NSDataReadingMappedAlways = 8 };

@interface NSData (ANEStandinReading)
// Maps the file, whatever the options; nil, without an error, if it cannot be read.
+ (NSData*)dataWithContentsOfFile:(NSString*)path
                          options:(NSDataReadingOptions)options
                            error:(NSError**)error;
@end
