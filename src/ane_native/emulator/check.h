// Checks a program against the limits of a generation of the engine.
#pragma once

#include <string_view>
#include <vector>

#include "device.h"
#include "mil/graph.h"
#include "profile.h"

namespace ane::emulator {

// Refuses tensors, kernels, windows, sums and constants that are larger than the engine takes, and operations
// that it lacks. `sound` tells which operations are well formed. Weight files need not have been read.
void check_limits(const mil::Function& function, const std::vector<bool>& sound, const ChipProfile& profile,
                  mil::Refusals& refusals);

// Lists, in the order of the text, all that compile() would refuse one by one. Without `weights`, weight
// files are not read, and a program that has any is not lowered for the profile.
std::vector<mil::Refusal> list_refusals(std::string_view text, const Weights* weights,
                                        const ChipProfile& profile, bool lenient_weights);

}  // namespace ane::emulator
