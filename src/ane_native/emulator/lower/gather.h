// Copies that take each element from one place of x, or a fill value, axis by axis.
#pragma once

#include "emulator/lowering.h"
#include "mil/ops/movement_shape.h"

namespace ane::emulator {

// Elements of x, or `fill`, as the axes tell.
void add_gather(Lowering& l, Buffer x, const std::vector<mil::AxisSource>& sources, half fill, Buffer y);

}  // namespace ane::emulator
