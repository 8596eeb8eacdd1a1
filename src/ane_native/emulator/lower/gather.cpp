#include "gather.h"

#include <algorithm>

#include "copy.h"
#include "emulator/transfer.h"

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

// `rows` rows of the result, each as long as the last axis.
template <typename Element>
void gather(const Execution& e, const std::vector<std::vector<int64_t>>& axes, int64_t rows, const Element* x,
            Element fill, Element* y) {
    const auto length = static_cast<int64_t>(axes.back().size());
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
            Element* to = y + row * length;
            for (int64_t i = 0; i < length; ++i) {
                const int64_t source = axes.back()[i];
                to[i] = inside && source >= 0 ? x[offset + source] : fill;
            }
        }
    });
}

}  // namespace

void add_gather(Lowering& l, Buffer x, const std::vector<mil::AxisSource>& sources, half fill, Buffer y,
                DType dtype) {
    Shape shape;
    for (const mil::AxisSource& source : sources) shape.push_back(source.size);
    const auto strides = row_major_strides(shape);
    std::vector<std::vector<int64_t>> axes;
    for (size_t i = 0; i < sources.size(); ++i) axes.push_back(offsets(sources[i], strides[i]));
    if (axes.empty()) axes.push_back({0});
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < axes.size(); ++i) rows *= static_cast<int64_t>(axes[i].size());
    with_element(dtype, [&]<typename Element>(Element) {
        l.step({x}, {y}, [=, axes = std::move(axes)](const Execution& e) {
            gather(e, axes, rows, e.at<Element>(x), static_cast<Element>(fill), e.at<Element>(y));
        });
    });
}

}  // namespace ane::emulator
