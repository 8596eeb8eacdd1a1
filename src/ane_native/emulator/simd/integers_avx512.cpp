#include "integers_impl.h"
#include "levels.h"

namespace ane::emulator {

static_assert(lanes == 16, "compile this file with -mavx512f -mavx512bw -mavx512vl -mavx512dq");

constinit const IntegerKernels avx512_integers = make_integer_kernels();

}  // namespace ane::emulator
