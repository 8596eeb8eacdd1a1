#include "vectors_impl.h"

namespace ane::host {

constinit const Vectors avx2_vectors = make_vectors("avx2");

}  // namespace ane::host
