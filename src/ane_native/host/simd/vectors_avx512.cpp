#include "vectors_impl.h"

namespace ane::host {

constinit const Vectors avx512_vectors = make_vectors("avx512");

}  // namespace ane::host
