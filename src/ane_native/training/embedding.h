// Rows of a table [vocab, dim] as the columns of activations [dim, positions]. Each token is below vocab.
#pragma once

#include <cstdint>

namespace ane::training {

void embed(const float* table, const int32_t* tokens, int64_t dim, int64_t positions, float* y);

// Adds dy [dim, positions] to the rows of the table's gradient.
void embed_backward(const float* dy, const int32_t* tokens, int64_t dim, int64_t positions, float* dtable);

}  // namespace ane::training
