// Channel-first activations [channels, positions]: fp32 arrays, and channels of fp16 surfaces.
#pragma once

#include <cstdint>
#include <optional>

#include "device.h"

namespace ane::training {

// Some channels of a surface that holds an fp16 tensor [1, C, 1, W]: as many of their columns as there are
// positions, from `column` on; without it all, and W must be the number of positions.
class Channels {
   public:
    // Throws SurfaceError unless the surface has them.
    Channels(Surface& surface, int64_t first, int64_t count, int64_t positions,
             std::optional<int64_t> column = std::nullopt);

    Surface& surface() const { return surface_; }
    int64_t count() const { return count_; }
    int64_t positions() const { return positions_; }
    int64_t pitch() const { return pitch_; }
    int64_t offset() const { return offset_; }               // bytes
    bool has_whole_rows() const { return has_whole_rows_; }  // so that copies may run from row to row

   private:
    Surface& surface_;
    int64_t count_, positions_, pitch_, offset_;
    bool has_whole_rows_;
};

void write(const Channels& to, const float* x);             // rounds to fp16
void write_transposed(const Channels& to, const float* x);  // x is [positions, channels]
void read(const Channels& from, float* y);
void read_and_add(const Channels& from, const float* x, float* y);  // y = x + from; y may be x
void copy(const Channels& from, const Channels& to);                // as many channels and positions

}  // namespace ane::training
