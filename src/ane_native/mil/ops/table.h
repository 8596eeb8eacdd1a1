// Names for the rows of the six tables.
#pragma once

#include "mil/op.h"

namespace ane::mil {

using enum Role;
using enum Presence;

inline constexpr DTypes half = dtypes(DType::fp16);
inline constexpr DTypes integer = dtypes(DType::int32);
inline constexpr DTypes boolean = dtypes(DType::boolean);
inline constexpr DTypes text = dtypes(DType::string);

}  // namespace ane::mil
