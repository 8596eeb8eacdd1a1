#include "integers_impl.h"
#include "levels.h"

namespace ane::emulator {

static_assert(lanes == 8, "compile this file with -mavx2 -mf16c -mfma");

constinit const IntegerKernels avx2_integers = make_integer_kernels();

}  // namespace ane::emulator
