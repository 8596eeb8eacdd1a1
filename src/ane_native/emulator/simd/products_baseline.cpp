#include "levels.h"
#include "products_impl.h"

namespace ane::emulator {

constinit const ProductKernels baseline_products = make_product_kernels();

}  // namespace ane::emulator
