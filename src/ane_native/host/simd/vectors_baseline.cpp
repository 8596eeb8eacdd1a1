#include "vectors_impl.h"

namespace ane::host {

constinit const Vectors baseline_vectors = make_vectors("baseline");

}  // namespace ane::host
