#include "strided.h"

namespace ane::emulator {

std::vector<int64_t> broadcast_strides(const Shape& shape, const Shape& to) {
    const auto packed = row_major_strides(shape);
    std::vector<int64_t> strides(to.size(), 0);
    const size_t missing = to.size() - shape.size();
    for (size_t i = 0; i < shape.size(); ++i)
        if (shape[i] != 1) strides[missing + i] = packed[i];
    return strides;
}

}  // namespace ane::emulator
