// Weight files: a 64-byte file header, then chunks, each a 64-byte header followed by its payload.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "device.h"
#include "graph.h"

namespace ane::mil {

// Reads the weight files of every BLOBFILE in `module` and sets the constants' data to views of them.
// Strict: header, dtype, size and bounds must agree with the declared type. Lenient: headers whose size and
// offset are unset are taken as "payload follows the header", and each such reading adds a line to `notes`.
// Refuses at the place of the constant; a file that is no weight file, once.
void read_weights(Module& module, const Weights& weights, bool lenient, std::vector<std::string>& notes,
                  Refusals& refusals);
// Throws CompileError.
void read_weights(Module& module, const Weights& weights, bool lenient, std::vector<std::string>& notes);

// Throws ArgumentError unless `path` is "@model_path/" and a relative path without "..", "." or empty parts.
void check_weight_path(const std::string& path);

}  // namespace ane::mil
