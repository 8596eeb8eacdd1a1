// The kernels of each SIMD level; avx512vnni has those of avx512 but for integers. Outside x86-64 only the
// baseline exists.
#pragma once

#include "kernels.h"

namespace ane::emulator {

extern const Kernels baseline_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;

extern const ProductKernels baseline_products;
extern const ProductKernels avx2_products;
extern const ProductKernels avx512_products;

extern const IntegerKernels baseline_integers;
extern const IntegerKernels avx2_integers;
extern const IntegerKernels avx512_integers;
extern const IntegerKernels avx512vnni_integers;

}  // namespace ane::emulator
