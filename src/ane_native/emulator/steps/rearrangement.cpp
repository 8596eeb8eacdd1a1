// Operations that repeat, pad, crop, resize, shuffle and sort.
#include "../../mil/ops/rearrangement.h"

#include <algorithm>
#include <cmath>

#include "copy.h"
#include "transfer.h"

namespace ane::emulator {

namespace {

// Where one axis of the result comes from, in elements of x; -1 for padding.
std::vector<int64_t> offsets(const mil::AxisSource& axis, int64_t stride) {
    std::vector<int64_t> result;
    for (int64_t i = 0; i < axis.extent; ++i) {
        const int64_t source = axis.at(i);
        result.push_back(source < 0 ? -1 : source * stride);
    }
    return result;
}

half fill_of(Lowering& l, const mil::OpView& op) {
    if (!op.has("constant_val")) return 0;
    const float value = op.number("constant_val");
    half bits;
    l.kernels().to_half(&value, &bits, 1, {});
    return bits;
}

void lower_from_sources(Lowering& l, const mil::OpView& op, Results results) {
    const mil::Value& value = op.value("x");
    const auto strides = row_major_strides(value.type.shape);
    const auto sources = mil::axis_sources(op);
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    std::vector<std::vector<int64_t>> axes;
    for (size_t i = 0; i < sources.size(); ++i) axes.push_back(offsets(sources[i], strides[i]));
    if (axes.empty()) axes.push_back({0});
    const auto length = static_cast<int64_t>(axes.back().size());
    const int64_t rows = results[0]->type.elements() / length;
    const half fill = fill_of(l, op);
    l.step({x}, {y}, [=, axes = std::move(axes)](const Execution& e) {
        const int64_t rows_per_task = std::max<int64_t>(1, tile / length);
        e.threads.parallel_for(ceil_divide(rows, rows_per_task), [&](int64_t task, int) {
            const int64_t last = std::min(rows, (task + 1) * rows_per_task);
            for (int64_t row = task * rows_per_task; row < last; ++row) {
                int64_t rest = row, offset = 0;
                bool inside = true;
                for (size_t i = axes.size() - 1; i-- > 0;) {
                    const auto extent = static_cast<int64_t>(axes[i].size());
                    const int64_t source = axes[i][rest % extent];
                    rest /= extent;
                    inside = inside && source >= 0;
                    offset += source;
                }
                half* to = e.at<half>(y) + row * length;
                for (int64_t i = 0; i < length; ++i) {
                    const int64_t source = axes.back()[i];
                    to[i] = inside && source >= 0 ? e.at<half>(x)[offset + source] : fill;
                }
            }
        });
    });
}

// The neighbours of one sample, and how far it lies from the first to the second.
struct Neighbours {
    int64_t first, second;
    float fraction;
};

std::vector<Neighbours> neighbours(const mil::Sampling& s) {
    std::vector<Neighbours> result;
    for (int64_t i = 0; i < s.extent; ++i) {
        const double at =
            std::clamp(s.first + static_cast<double>(i) * s.step, 0.0, static_cast<double>(s.size - 1));
        const auto first = static_cast<int64_t>(at);
        result.push_back({first, std::min(first + 1, s.size - 1), static_cast<float>(at - std::floor(at))});
    }
    return result;
}

float between(float a, float b, float fraction) { return a * (1.0f - fraction) + b * fraction; }

void lower_bilinear(Lowering& l, const mil::OpView& op, Results results) {
    const mil::BilinearSampling s = mil::bilinear_sampling(op);
    const mil::Value& value = op.value("x");
    const int64_t height = s.height.extent, width = s.width.extent, in = s.width.size;
    const int64_t planes = value.type.elements() / (s.height.size * in);
    const Rounding rounding = l.profile().elementwise;
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    const int64_t worker_floats = 2 * in + width;
    const Buffer scratch = l.scratch(l.workers() * worker_floats * static_cast<int64_t>(sizeof(float)));
    l.step({x}, {y, scratch},
           [=, rows = neighbours(s.height), columns = neighbours(s.width)](const Execution& e) {
               e.threads.parallel_for(planes * height, [&](int64_t task, int worker) {
                   float* upper = e.at<float>(scratch) + worker * worker_floats;
                   float *lower = upper + in, *line = lower + in;
                   const Neighbours& row = rows[task % height];
                   const half* plane = e.at<half>(x) + task / height * s.height.size * in;
                   e.kernels.to_float(plane + row.first * in, upper, static_cast<size_t>(in));
                   e.kernels.to_float(plane + row.second * in, lower, static_cast<size_t>(in));
                   for (int64_t i = 0; i < width; ++i) {
                       const auto [first, second, fraction] = columns[i];
                       line[i] = between(between(upper[first], upper[second], fraction),
                                         between(lower[first], lower[second], fraction), row.fraction);
                   }
                   e.kernels.to_half(line, e.at<half>(y) + task * width, static_cast<size_t>(width),
                                     rounding);
               });
           });
}

void lower_block_shuffle(Lowering& l, const mil::OpView& op, Results results) {
    const mil::BlockShuffle shuffle = mil::block_shuffle(op);
    add_transpose(l, l.buffer(op.value("x")), shuffle.shape, shuffle.permutation, l.result(*results[0]));
}

// Grows with the number; zeros are equal, and NaN is larger than everything else.
uint32_t order(half bits) {
    if (bits == 0x8000) bits = 0;
    if ((bits & 0x7fff) > 0x7c00) bits = 0x7fff;
    return bits & 0x8000 ? 0x7fffu - (bits & 0x7fffu) : 0x8000u + bits;
}

void lower_topk(Lowering& l, const mil::OpView& op, Results results) {
    if (!l.profile().has_topk)
        op.refuse("", std::string(l.profile().name) + " has no topk, which came with h14 (M2)");
    const mil::TopK t = mil::top_k(op);
    const mil::Value& value = op.value("x");
    const int64_t length = value.type.shape[t.axis], inner = row_major_strides(value.type.shape)[t.axis];
    const int64_t rows = value.type.elements() / length, count = t.count;
    const uint32_t flip = op.boolean("ascending", false) ? 0 : 0xffffu;
    const bool is_narrow = results.size() == 2 && results[1]->type.dtype == DType::uint16;
    const Buffer x = l.buffer(value), y = l.result(*results[0]);
    const Buffer indices = results.size() == 2 ? l.result(*results[1]) : -1;
    const Buffer scratch = l.scratch(l.workers() * length * static_cast<int64_t>(sizeof(uint64_t)));
    std::vector<Buffer> writes = {y, scratch};
    if (indices >= 0) writes.push_back(indices);
    l.step({x}, writes, [=](const Execution& e) {
        e.threads.parallel_for(rows, [&](int64_t row, int worker) {
            uint64_t* keys = e.at<uint64_t>(scratch) + worker * length;
            const half* from = e.at<half>(x) + row / inner * length * inner + row % inner;
            // The number first, then the index: of equals the first wins.
            for (int64_t i = 0; i < length; ++i)
                keys[i] = uint64_t{order(from[i * inner]) ^ flip} << 32 | static_cast<uint64_t>(i);
            std::partial_sort(keys, keys + count, keys + length);
            const int64_t to = row / inner * count * inner + row % inner;
            for (int64_t i = 0; i < count; ++i) {
                const auto index = static_cast<uint32_t>(keys[i]);
                e.at<half>(y)[to + i * inner] = from[index * inner];
                if (indices < 0) continue;
                if (is_narrow)
                    e.at<uint16_t>(indices)[to + i * inner] = static_cast<uint16_t>(index);
                else
                    e.at<uint32_t>(indices)[to + i * inner] = index;
            }
        });
    });
}

}  // namespace

std::span<const LoweringEntry> rearrangement_lowerings() {
    static constexpr LoweringEntry table[] = {
        {"crop", lower_from_sources},
        {"depth_to_space", lower_block_shuffle},
        {"pad", lower_from_sources},
        {"pixel_shuffle", lower_block_shuffle},
        {"pixel_unshuffle", lower_block_shuffle},
        {"resize_bilinear", lower_bilinear},
        {"resize_nearest_neighbor", lower_from_sources},
        {"reverse", lower_from_sources},
        {"space_to_depth", lower_block_shuffle},
        {"tile", lower_from_sources},
        {"topk", lower_topk},
        {"upsample_bilinear", lower_bilinear},
        {"upsample_nearest_neighbor", lower_from_sources},
    };
    return table;
}

}  // namespace ane::emulator
