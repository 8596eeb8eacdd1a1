#include "kernels_impl.h"
#include "levels.h"

namespace ane::emulator {

static_assert(lanes == 8, "compile this file with -mavx2 -mf16c -mfma");

constinit const Kernels avx2_kernels = make_kernels(avx2_products, avx2_integers);

}  // namespace ane::emulator
