// Cross-entropy of logits [vocab, positions], the classifier's own layout.
#pragma once

#include <cstdint>

#include "channels.h"

namespace ane::training {

// The mean over positions of -log softmax(logits)[target]. Leaves in `logits` their gradient times `scale`.
// Each target is below vocab.
double cross_entropy(float* logits, const int32_t* targets, int64_t vocab, int64_t positions, float scale);

// The same where a device has computed the probabilities [vocab, positions], whose place the gradient takes.
// A target's may be too small for fp16, so the loss is that of the most probable entry plus what separates
// their logits.
double cross_entropy_of_probabilities(float* probabilities, const Channels& logits, const int32_t* targets,
                                      float scale);

}  // namespace ane::training
