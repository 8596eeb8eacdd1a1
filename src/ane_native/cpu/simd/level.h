// The SIMD level being compiled: CMake names it, and compiles each part once for each level.
#pragma once

#include "kernels.h"
#include "vectors.h"

namespace ane::cpu::ANEPERF_SIMD_LEVEL {

extern const Kernels kernels;
extern const ProductKernels products;
extern const FixedProductKernels fixed_products;
extern const IntegerKernels integers;
extern const Vectors vectors;

}  // namespace ane::cpu::ANEPERF_SIMD_LEVEL
