#include "levels.h"
#include "products_impl.h"

namespace ane::emulator {

static_assert(lanes == 8, "compile this file with -mavx2 -mf16c -mfma");

constinit const ProductKernels avx2_products = make_product_kernels();

}  // namespace ane::emulator
