#include "integers_impl.h"
#include "levels.h"

namespace ane::emulator {

static_assert(has_vnni, "compile this file with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni");

constinit const IntegerKernels avx512vnni_integers = make_integer_kernels();

}  // namespace ane::emulator
