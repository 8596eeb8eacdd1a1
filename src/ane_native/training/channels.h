// Channel-first activations [channels, positions]: fp32 arrays, and channels of fp16 surfaces.
#pragma once

#include <cstdint>

#include "device.h"

namespace ane::training {

// Some channels of a surface that holds an fp16 tensor [1, C, 1, positions].
class Channels {
   public:
    // Throws SurfaceError unless the surface has them.
    Channels(Surface& surface, int64_t first, int64_t count, int64_t positions);

    Surface& surface() const { return surface_; }
    int64_t count() const { return count_; }
    int64_t positions() const { return positions_; }
    int64_t pitch() const { return pitch_; }
    int64_t offset() const { return first_ * pitch_; }  // bytes

   private:
    Surface& surface_;
    int64_t first_, count_, positions_, pitch_;
};

void write(const Channels& to, const float* x);  // rounds to fp16
void read(const Channels& from, float* y);
void read_and_add(const Channels& from, const float* x, float* y);  // y = x + from; y may be x
void copy(const Channels& from, const Channels& to);                // as many channels and positions

}  // namespace ane::training
