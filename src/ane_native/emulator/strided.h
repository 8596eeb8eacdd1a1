// Nested loops over tensors: broadcasting, transposing and slicing are all loops with other strides.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../tensor_type.h"

namespace ane::emulator {

// Loops over a shape with `Operands` tensors walked at once, strides in elements. Axes that follow one
// another in every operand are merged, so the innermost loop is as long as it can be.
template <size_t Operands>
struct LoopNest {
    struct Axis {
        int64_t extent;
        std::array<int64_t, Operands> strides;
    };
    std::vector<Axis> axes;  // outermost first; at least one

    LoopNest(const Shape& shape, const std::array<std::vector<int64_t>, Operands>& strides) {
        for (size_t i = 0; i < shape.size(); ++i) {
            Axis axis{shape[i], {}};
            for (size_t k = 0; k < Operands; ++k) axis.strides[k] = strides[k][i];
            if (axis.extent == 1) continue;
            if (!axes.empty() && follows(axes.back(), axis)) {
                axis.extent *= axes.back().extent;
                axes.back() = axis;
            } else {
                axes.push_back(axis);
            }
        }
        if (axes.empty()) axes.push_back({1, {}});
    }

    const Axis& inner() const { return axes.back(); }

    int64_t outer_count() const {
        int64_t count = 1;
        for (size_t i = 0; i + 1 < axes.size(); ++i) count *= axes[i].extent;
        return count;
    }

    // Where each operand's innermost loop starts, for the outer loops' position `index`.
    std::array<int64_t, Operands> offsets(int64_t index) const {
        std::array<int64_t, Operands> result{};
        for (size_t i = axes.size() - 1; i-- > 0;) {
            const int64_t position = index % axes[i].extent;
            index /= axes[i].extent;
            for (size_t k = 0; k < Operands; ++k) result[k] += position * axes[i].strides[k];
        }
        return result;
    }

   private:
    static bool follows(const Axis& outer, const Axis& inner) {
        for (size_t k = 0; k < Operands; ++k)
            if (outer.strides[k] != inner.strides[k] * inner.extent) return false;
        return true;
    }
};

// Strides that walk `shape` as if it were broadcast to `to`: 0 along axes that repeat.
std::vector<int64_t> broadcast_strides(const Shape& shape, const Shape& to);

}  // namespace ane::emulator
