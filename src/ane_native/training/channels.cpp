#include "channels.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "cpu/simd/kernels.h"
#include "cpu/simd/vectors.h"
#include "cpu/thread_pool.h"

namespace ane::training {

namespace {

using cpu::half;

// Calls work(first, count) for chunks of channels that are worth a thread's while.
template <typename Work>
void for_each_chunk(const Channels& channels, const Work& work) {
    const int64_t rows = std::max<int64_t>(1, 16384 / channels.positions());
    const int64_t chunks = (channels.count() + rows - 1) / rows;
    cpu::ThreadPool::shared().parallel_for(chunks, [&](int64_t chunk, int) {
        work(chunk * rows, std::min(rows, channels.count() - chunk * rows));
    });
}

}  // namespace

Channels::Channels(Surface& surface, int64_t first, int64_t count, int64_t positions,
                   std::optional<int64_t> column)
    : surface_(surface), count_(count), positions_(positions) {
    const auto& layout = surface.layout();
    if (!layout || layout->dtype != DType::fp16 || layout->shape.size() != 4 || layout->shape[0] != 1 ||
        layout->shape[2] != 1)
        throw SurfaceError("the surface was not made for an fp16 tensor [1, channels, 1, positions]");
    const int64_t width = layout->width(), begin = column.value_or(0);
    const bool has_columns =
        column ? begin >= 0 && positions >= 1 && begin <= width - positions : positions == width;
    if (!has_columns || first < 0 || count < 1 || first > layout->shape[1] - count)
        throw SurfaceError(std::to_string(count) + " channels from " + std::to_string(first) + " on, of " +
                           std::to_string(positions) + " positions" +
                           (column ? " from column " + std::to_string(begin) + " on" : "") +
                           ", are not in a surface of " + to_string(layout->shape));
    pitch_ = layout->row_pitch();
    offset_ = first * pitch_ + begin * static_cast<int64_t>(sizeof(half));
    has_whole_rows_ = positions == width;
}

void write(const Channels& to, const float* x) {
    const Surface::Lock lock(to.surface(), Surface::Access::write);
    for_each_chunk(to, [&](int64_t first, int64_t count) {
        for (int64_t c = first; c < first + count; ++c)
            cpu::kernels().to_half(x + c * to.positions(),
                                   reinterpret_cast<half*>(lock.data() + to.offset() + c * to.pitch()),
                                   static_cast<size_t>(to.positions()), {});
    });
}

// A group of positions at a time: whole cache lines of each row of the surface.
void write_transposed(const Channels& to, const float* x) {
    constexpr int64_t at_once = 64;
    const Surface::Lock lock(to.surface(), Surface::Access::write);
    cpu::ThreadPool::shared().parallel_for((to.positions() + at_once - 1) / at_once, [&](int64_t group, int) {
        const int64_t first = group * at_once, count = std::min(at_once, to.positions() - first);
        std::vector<half> rows(static_cast<size_t>(count * to.count()));
        cpu::kernels().to_half(x + first * to.count(), rows.data(), rows.size(), {});
        cpu::kernels().products->transpose(rows.data(), static_cast<size_t>(to.count()),
                                           static_cast<size_t>(count), static_cast<size_t>(to.count()),
                                           reinterpret_cast<half*>(lock.data() + to.offset()) + first,
                                           static_cast<size_t>(to.pitch()) / sizeof(half));
    });
}

void read(const Channels& from, float* y) {
    const Surface::Lock lock(from.surface(), Surface::Access::read);
    for_each_chunk(from, [&](int64_t first, int64_t count) {
        for (int64_t c = first; c < first + count; ++c)
            cpu::kernels().to_float(
                reinterpret_cast<const half*>(lock.data() + from.offset() + c * from.pitch()),
                y + c * from.positions(), static_cast<size_t>(from.positions()));
    });
}

void read_and_add(const Channels& from, const float* x, float* y) {
    const Surface::Lock lock(from.surface(), Surface::Access::read);
    const auto n = static_cast<size_t>(from.positions());
    for_each_chunk(from, [&](int64_t first, int64_t count) {
        std::vector<float> row(n);
        for (int64_t c = first; c < first + count; ++c) {
            const auto* halves =
                reinterpret_cast<const half*>(lock.data() + from.offset() + c * from.pitch());
            cpu::kernels().to_float(halves, row.data(), n);
            cpu::kernels().vectors->add(x + c * from.positions(), row.data(), y + c * from.positions(), n);
        }
    });
}

void copy(const Channels& from, const Channels& to) {
    if (from.count() != to.count() || from.positions() != to.positions())
        throw SurfaceError("a copy of " + std::to_string(from.count()) + " channels into " +
                           std::to_string(to.count()));
    const Surface::Lock source(from.surface(), Surface::Access::read);
    const Surface::Lock target(to.surface(), Surface::Access::write);
    for_each_chunk(from, [&](int64_t first, int64_t count) {
        if (from.pitch() == to.pitch() && from.has_whole_rows() && to.has_whole_rows()) {
            std::memmove(target.data() + to.offset() + first * to.pitch(),
                         source.data() + from.offset() + first * from.pitch(),
                         static_cast<size_t>(count * from.pitch()));
            return;
        }
        for (int64_t c = first; c < first + count; ++c)
            std::memcpy(target.data() + to.offset() + c * to.pitch(),
                        source.data() + from.offset() + c * from.pitch(),
                        static_cast<size_t>(from.positions()) * sizeof(half));
    });
}

}  // namespace ane::training
