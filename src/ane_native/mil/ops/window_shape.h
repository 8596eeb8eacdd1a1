// The windows of convolutions and pools over the axes behind batch and channels.
#pragma once

#include <array>

#include "mil/op.h"

namespace ane::mil {

// A window that slides along one axis.
struct WindowAxis {
    int64_t size = 1, extent = 1;  // elements of x, positions of the window
    int64_t kernel = 1, stride = 1, dilation = 1;
    int64_t before = 0, after = 0;  // padding

    int64_t reach() const { return (kernel - 1) * dilation + 1; }
    // The element of x under one tap of the kernel. It may lie in the padding.
    int64_t source(int64_t position, int64_t tap) const {
        return position * stride + tap * dilation - before;
    }
};

// Depth, height and width. Those that x does not have are one element and one tap.
struct Window {
    std::array<WindowAxis, 3> axes;

    const WindowAxis& depth() const { return axes[0]; }
    const WindowAxis& height() const { return axes[1]; }
    const WindowAxis& width() const { return axes[2]; }
    int64_t inputs() const { return product(&WindowAxis::size); }
    int64_t positions() const { return product(&WindowAxis::extent); }
    int64_t taps() const { return product(&WindowAxis::kernel); }

   private:
    int64_t product(int64_t WindowAxis::* count) const {
        return axes[0].*count * axes[1].*count * axes[2].*count;
    }
};

// conv: x [batch, in_channels, ...], weight [out_channels, in_channels / groups, kernel...].
struct ConvWindow : Window {
    int64_t batch, in_channels, out_channels, groups;
};
ConvWindow conv_window(const OpView& op);
// conv_transpose, described by the forward convolution it is the gradient of.
ConvWindow conv_transpose_window(const OpView& op);

// max_pool, avg_pool, l2_pool: x [batch, channels, ...].
Window pool_window(const OpView& op);

// [batch, channels, ...] with as many axes as x: the window's positions, or for a conv_transpose its inputs.
Shape window_result(const OpView& op, const Window& window, int64_t channels, int64_t WindowAxis::* extent);

}  // namespace ane::mil
