// Copies that take each element from one place of x, or a fill value, axis by axis.
#pragma once

#include "emulator/lowering.h"
#include "mil/ops/movement_shape.h"

namespace ane::emulator {

// Elements of x, or `fill`, as the axes tell. An element of x is fp16 or, if `dtype` says so, bool.
void add_gather(Lowering& l, Buffer x, const std::vector<mil::AxisSource>& sources, half fill, Buffer y,
                DType dtype = DType::fp16);

}  // namespace ane::emulator
