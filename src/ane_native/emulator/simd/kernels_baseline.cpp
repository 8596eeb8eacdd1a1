#include "kernels_impl.h"
#include "levels.h"

namespace ane::emulator {

constinit const Kernels baseline_kernels = make_kernels(baseline_products, baseline_integers);

}  // namespace ane::emulator
