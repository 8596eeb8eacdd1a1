#pragma once

#define kIOPSACPowerValue "AC Power"
#define kIOPSBatteryPowerValue "Battery Power"
#define kIOPMACPowerKey kIOPSACPowerValue
#define kIOPMBatteryPowerKey kIOPSBatteryPowerValue
#define kIOPMUPSPowerKey "UPS Power"
