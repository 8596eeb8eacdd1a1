// conv and conv_transpose.
#pragma once

#include <optional>

#include "emulator/lowering.h"
#include "mil/ops/window_shape.h"

namespace ane::emulator {

void lower_conv(Lowering& l, const mil::OpView& op, Results results);
void lower_conv_transpose(Lowering& l, const mil::OpView& op, Results results);

// The argument 'bias' as fp32, or none. Refuses one that is computed at run time.
std::optional<Buffer> constant_bias(Lowering& l, const mil::OpView& op);

}  // namespace ane::emulator
