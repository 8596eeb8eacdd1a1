// Nested loops over tensors: broadcasting, transposing and slicing are all loops with other strides.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "tensor_type.h"

namespace ane::emulator {

inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr int64_t cache_line = 64;
inline int64_t aligned(int64_t bytes) { return ceil_divide(bytes, cache_line) * cache_line; }

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

// The order in which a loop over some shape meets the elements of a tensor, strides in elements. It is made
// of runs, the innermost axis.
class Walk {
   public:
    Walk(const Shape& shape, const std::vector<int64_t>& strides) : loops_(shape, {strides}) {
        if (loops_.axes.size() > 1) runs_ = loops_.axes[loops_.axes.size() - 2];
    }

    bool is_packed() const {
        return loops_.axes.size() == 1 && (stride() == 1 || loops_.inner().extent == 1);
    }
    // One element, again and again.
    bool repeats() const { return loops_.axes.size() == 1 && stride() == 0; }
    int64_t stride() const { return loops_.inner().strides[0]; }  // within a run

    // Where element `begin` lies, if the `n` elements from it on belong to one run.
    std::optional<int64_t> offset_in_run(int64_t begin, int64_t n) const {
        const int64_t extent = loops_.inner().extent, at = begin % extent;
        if (at + n > extent) return std::nullopt;
        return loops_.offsets(begin / extent)[0] + at * stride();
    }

    // Calls visit(offset, done, count) for each piece of a run among the `n` elements from `begin` on: its
    // offset in memory, the elements before it, and its own.
    template <typename Visit>
    void visit_runs(int64_t begin, int64_t n, const Visit& visit) const {
        const int64_t extent = loops_.inner().extent;
        int64_t run = begin / extent, at = begin % extent, offset = loops_.offsets(run)[0];
        for (int64_t done = 0; done < n; at = 0) {
            const int64_t count = std::min(extent - at, n - done);
            visit(offset + at * stride(), done, count);
            done += count;
            // Divisions only where an axis further out moves on.
            ++run;
            offset = run % runs_.extent == 0 ? loops_.offsets(run)[0] : offset + runs_.strides[0];
        }
    }

   private:
    LoopNest<1> loops_;
    LoopNest<1>::Axis runs_{1, {}};
};

// A tensor in memory order.
inline Walk packed_walk(int64_t elements) { return {{elements}, {1}}; }

// Strides that walk `shape` as if it were broadcast to `to`: 0 along axes that repeat.
std::vector<int64_t> broadcast_strides(const Shape& shape, const Shape& to);

}  // namespace ane::emulator
