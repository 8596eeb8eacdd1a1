#include "kernels_impl.h"
#include "levels.h"

namespace ane::emulator {

static_assert(lanes == 16, "compile this file with -mavx512f -mavx512bw -mavx512vl -mavx512dq");

constinit const Kernels avx512_kernels = make_kernels(avx512_products, avx512_integers);

}  // namespace ane::emulator
