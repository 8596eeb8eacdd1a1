#include "levels.h"
#include "products_impl.h"

namespace ane::emulator {

static_assert(lanes == 16, "compile this file with -mavx512f -mavx512bw -mavx512vl -mavx512dq");

constinit const ProductKernels avx512_products = make_product_kernels();

}  // namespace ane::emulator
