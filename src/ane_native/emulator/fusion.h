// Joins the element-wise steps of a plan into chains. Every operation still rounds its own result, so fusion
// changes no bit.
#pragma once

#include "plan.h"

namespace ane::emulator {

// Turns every element-wise step into one that runs: joined with others if `joins`, else each alone.
void fuse(Plan& plan, int workers, bool joins);

}  // namespace ane::emulator
