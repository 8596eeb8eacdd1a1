// Joins the element-wise steps of a plan into chains. Each operation rounds as it would alone, so that no bit
// of a result depends on it.
#pragma once

#include "plan.h"

namespace ane::emulator {

// Turns every element-wise step into one that runs: joined with others if `joins`, else each alone.
void fuse(Plan& plan, int workers, bool joins);

}  // namespace ane::emulator
