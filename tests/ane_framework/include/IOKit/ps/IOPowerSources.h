// The machine's source of power, from /sys/class/power_supply.
#pragma once
#pragma GCC system_header

#include <CoreFoundation/CoreFoundation.h>
#include <IOKit/ps/IOPSKeys.h>

#ifdef __cplusplus
extern "C" {
#endif

// NULL where the system does not say.
CFTypeRef IOPSCopyPowerSourcesInfo(void) CF_RETURNS_RETAINED;
// kIOPMACPowerKey or kIOPMBatteryPowerKey; belongs to the system.
CFStringRef IOPSGetProvidingPowerSourceType(CFTypeRef snapshot) CF_RETURNS_NOT_RETAINED;

#ifdef __cplusplus
}
#endif
