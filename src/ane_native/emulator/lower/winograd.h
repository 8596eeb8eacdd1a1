// Convolutions by Winograd's transform along the width, as engines from h17 on compute kernels 3 wide.
#pragma once

#include <optional>

#include "emulator/lowering.h"
#include "mil/ops/window_shape.h"

namespace ane::emulator {

bool takes_winograd(const mil::ConvWindow& w);

void add_winograd(Lowering& l, const mil::ConvWindow& w, Buffer x, Buffer weight, std::optional<Buffer> bias,
                  Buffer y);

}  // namespace ane::emulator
