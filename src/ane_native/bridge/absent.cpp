#include "device.h"

namespace ane {

std::shared_ptr<Device> open_neural_engine(CompileBudget, Route) {
    throw DeviceUnavailable(
        "no Neural Engine on this machine: this build has no access to Apple's framework; use the emulator "
        "(ANEPERF_DEVICE=emulator)");
}

}  // namespace ane
