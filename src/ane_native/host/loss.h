// Cross-entropy of logits [vocab, positions], the classifier's own layout.
#pragma once

#include <cstdint>

namespace ane::host {

// The mean over positions of -log softmax(logits)[target]. Leaves in `logits` their gradient times `scale`.
// Each target is below vocab.
double cross_entropy(float* logits, const int32_t* targets, int64_t vocab, int64_t positions, float scale);

}  // namespace ane::host
