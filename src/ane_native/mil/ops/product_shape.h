// The extents of matrix products.
#pragma once

#include "mil/op.h"

namespace ane::mil {

// matmul: [batch..., rows, inner] x [batch..., inner, columns], after the transposes.
struct MatmulExtents {
    Shape batch;
    int64_t rows, inner, columns;
    bool transpose_x, transpose_y;
};
MatmulExtents matmul_extents(const OpView& op);
// einsum: [batch..., rows, height, inner] and [batch..., inner, height, columns] to [batch..., rows, height,
// columns]; the height is the last of the batch axes.
MatmulExtents einsum_extents(const OpView& op);

}  // namespace ane::mil
