// The machine's power source and thermal state, from sysfs.
#import <Foundation/Foundation.h>
#import <IOKit/ps/IOPowerSources.h>

static NSString* const power_supplies = @"/sys/class/power_supply";
static NSString* const thermal_zones = @"/sys/class/thermal";

static NSString* trimmed_contents(NSString* folder, NSString* name) {
    NSString* const path = [folder stringByAppendingPathComponent:name];
    NSString* const text = [NSString stringWithContentsOfFile:path encoding:NSUTF8StringEncoding error:NULL];
    return [text stringByTrimmingCharactersInSet:[NSCharacterSet whitespaceAndNewlineCharacterSet]];
}

static NSArray* folders_in(NSString* folder) {
    NSMutableArray* const folders = [NSMutableArray array];
    NSArray* const names = [[NSFileManager defaultManager] contentsOfDirectoryAtPath:folder error:NULL];
    for (NSString* name in names) [folders addObject:[folder stringByAppendingPathComponent:name]];
    return folders;
}

// A mouse has a battery too: its scope is Device.
static BOOL powers_the_machine(NSString* supply) {
    return [trimmed_contents(supply, @"type") isEqual:@"Battery"] &&
           ![trimmed_contents(supply, @"scope") isEqual:@"Device"];
}

// The snapshot is the name of the power source.
CFTypeRef IOPSCopyPowerSourcesInfo(void) {
    NSAutoreleasePool* const pool = [NSAutoreleasePool new];
    NSString* source = nil;
    if ([[NSFileManager defaultManager] fileExistsAtPath:power_supplies]) {
        source = @kIOPMACPowerKey;
        for (NSString* supply in folders_in(power_supplies))
            if (powers_the_machine(supply) && [trimmed_contents(supply, @"status") isEqual:@"Discharging"])
                source = @kIOPMBatteryPowerKey;
    }
    [pool release];
    return source;
}

CFStringRef IOPSGetProvidingPowerSourceType(CFTypeRef snapshot) { return (CFStringRef)snapshot; }

// By the trip points that the zone has passed.
static NSProcessInfoThermalState state_of(NSString* zone) {
    NSProcessInfoThermalState state = NSProcessInfoThermalStateNominal;
    const int temperature = [trimmed_contents(zone, @"temp") intValue];
    for (int i = 0;; ++i) {
        NSString* const point = [NSString stringWithFormat:@"trip_point_%d_", i];
        NSString* const type = trimmed_contents(zone, [point stringByAppendingString:@"type"]);
        if (!type) return state;
        const int limit = [trimmed_contents(zone, [point stringByAppendingString:@"temp"]) intValue];
        if (limit <= 0 || temperature < limit) continue;
        if ([type isEqual:@"critical"]) state = MAX(state, NSProcessInfoThermalStateCritical);
        if ([type isEqual:@"hot"]) state = MAX(state, NSProcessInfoThermalStateSerious);
        if ([type isEqual:@"passive"]) state = MAX(state, NSProcessInfoThermalStateFair);
    }
}

@implementation NSProcessInfo (ANEStandinThermalState)

- (NSProcessInfoThermalState)thermalState {
    NSProcessInfoThermalState worst = NSProcessInfoThermalStateNominal;
    for (NSString* zone in folders_in(thermal_zones))
        if ([[zone lastPathComponent] hasPrefix:@"thermal_zone"]) worst = MAX(worst, state_of(zone));
    return worst;
}

@end
