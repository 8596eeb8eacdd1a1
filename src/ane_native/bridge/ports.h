// The order and layout of a loaded program's ports.
#pragma once

#import <Foundation/Foundation.h>

#include <cstdint>
#include <vector>

#include "device.h"

namespace ane {

// Puts the ports into the engine's order and gives them the engine's row pitch, as far as `attributes` tell;
// what they do not tell follows the documented law (ASCII order, rows on 64-byte boundaries). Returns
// the ports' numbers in a request.
std::vector<int64_t> settle_ports(std::vector<Port>& ports, id attributes, bool inputs);

// The ports of a program whose text nobody read: batches, channels, height and width, and depth where it is
// more than 1. Throws CompileError where `attributes` do not tell.
std::vector<Port> read_ports(id attributes, bool inputs);

}  // namespace ane
