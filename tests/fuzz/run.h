// Runs a program that compiles, for both targets.
#pragma once

#include <string>

#include "device.h"

namespace ane::fuzz {

// The emulator that plays `chip`; its compile budget never ends.
Device& emulator(const std::string& chip);

// Tells whether `text` is a program so small that compiling and running it takes no time to speak of. Throws
// CompileError where compile does.
bool is_small(const std::string& text);

// Evaluates on arbitrary numbers, on others, and on the first again. Aborts unless the outputs are those of
// the first time, which they are not if a step reads memory that nothing has written.
void evaluate(Program& program, Device& device);

}  // namespace ane::fuzz
