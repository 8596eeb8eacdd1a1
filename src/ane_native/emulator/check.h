// Checks a program against the limits of a generation of the engine.
#pragma once

#include <string_view>
#include <vector>

#include "device.h"
#include "mil/graph.h"
#include "profile.h"

namespace ane::emulator {

// Refuses tensors with more elements along an axis than the engine takes.
void check_extents(const mil::Function& function, const ChipProfile& profile, mil::Refusals& refusals);

// Lists, in the order of the text, all that compile() would refuse one by one. Without `weights`, weight
// files are not read, and a program that has any is not lowered for the profile.
std::vector<mil::Refusal> list_refusals(std::string_view text, const Weights* weights,
                                        const ChipProfile& profile, bool lenient_weights);

}  // namespace ane::emulator
