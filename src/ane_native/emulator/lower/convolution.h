// conv and conv_transpose.
#pragma once

#include "emulator/lowering.h"

namespace ane::emulator {

void lower_conv(Lowering& l, const mil::OpView& op, Results results);
void lower_conv_transpose(Lowering& l, const mil::OpView& op, Results results);

}  // namespace ane::emulator
