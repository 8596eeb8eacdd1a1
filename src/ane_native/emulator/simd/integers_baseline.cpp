#include "integers_impl.h"
#include "levels.h"

namespace ane::emulator {

constinit const IntegerKernels baseline_integers = make_integer_kernels();

}  // namespace ane::emulator
