// A queue of weight gradients, computed on a thread of its own.
#include <algorithm>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "cpu/product.h"
#include "errors.h"
#include "training/channels.h"
#include "training/flags.h"
#include "training/work_queue.h"

namespace ane::python {

namespace {

using namespace training;

using Activations = Typed<"NDArray[np.float32] | SurfacePart | Sequence[SurfacePart]">;

// Gradients of weights, dw += dy x^T, one after the other on a thread of their own.
class GradientQueue {
   public:
    // Activations are an array [channels, positions], part of a surface, or several whose channels follow one
    // another. A part is (surface, first channel, channels), or also the positions and the first column.
    void add(const Activations& dy_object, const Activations& x_object, const FloatArray& dweight_object,
             std::string name, const OptionalFloatArray& base_object, const OptionalFlagArray& flags_object) {
        const auto [dy, x] = operands(dy_object, x_object);
        const Flags flags = optional_flags(flags_object);
        const Floats dweight = output(dweight_object, "dweight", {dy.channels, x.channels});
        const float* base = optional_input(base_object, "base", dweight.shape);
        held_.push_back(py::make_tuple(dy_object, x_object, dweight_object, base_object, flags_object));
        queue_->add(std::move(name), [this, dy = dy, x = x, base, to = dweight.data, flags] {
            cpu::product(cpu::Transpose::no, cpu::Transpose::yes, dy.channels, x.channels, dy.positions,
                         dy.floats(dy_), x.floats(x_), base, to);
            raise_flags(flags.data, flags.count);
        });
    }

    // The gradients of the factors of scale * b a, which is added to a weight whose gradient is dw = dy x^T:
    // db = scale * dw a^T and da = scale * b^T dw, without dw itself.
    void add_adapter(const Activations& dy_object, const Activations& x_object, const FloatArray& a_object,
                     const FloatArray& b_object, const FloatArray& da_object, const FloatArray& db_object,
                     double scale, std::string name, const OptionalFloatArray& base_a_object,
                     const OptionalFloatArray& base_b_object, const OptionalFlagArray& flags_object) {
        const auto [dy, x] = operands(dy_object, x_object);
        const Flags flags = optional_flags(flags_object);
        const Floats a = input(a_object, "a", {any, x.channels});
        const Floats b = input(b_object, "b", {dy.channels, a.shape[0]});
        const Floats da = output(da_object, "da", a.shape), db = output(db_object, "db", b.shape);
        const float *base_a = optional_input(base_a_object, "base_a", a.shape),
                    *base_b = optional_input(base_b_object, "base_b", b.shape);
        held_.push_back(py::make_tuple(dy_object, x_object, a_object, b_object, da_object, db_object,
                                       base_a_object, base_b_object, flags_object));
        const auto factor = static_cast<float>(scale);
        queue_->add(std::move(name), [this, dy = dy, x = x, a, b, da, db, base_a, base_b, factor, flags] {
            using enum cpu::Transpose;
            const float *y_values = dy.floats(dy_), *x_values = x.floats(x_);
            const int64_t rank = a.shape[0], positions = dy.positions;
            narrow_.resize(static_cast<size_t>(rank * positions));
            const auto scaled = [&] {
                for (float& value : narrow_) value *= factor;
                return narrow_.data();
            };
            cpu::product(no, no, rank, positions, x.channels, a.data, x_values, nullptr, narrow_.data());
            cpu::product(no, yes, dy.channels, rank, positions, y_values, scaled(), base_b, db.data);
            cpu::product(yes, no, rank, positions, dy.channels, b.data, y_values, nullptr, narrow_.data());
            cpu::product(no, yes, rank, x.channels, positions, scaled(), x_values, base_a, da.data);
            raise_flags(flags.data, flags.count);
        });
    }

    void wait() {
        const int64_t added = released_ + static_cast<int64_t>(held_.size());
        {
            const WithoutGil without_gil;
            queue_->wait();
        }
        for (; released_ < added; ++released_) held_.pop_front();
    }

    Typed<"list[tuple[str, int, int]]"> take_spans() {
        py::list spans;
        for (const auto& span : queue_->take_spans())
            spans.append(py::make_tuple(span.name, span.begin, span.end));
        return spans;
    }

    ~GradientQueue() {
        const WithoutGil without_gil;
        queue_.reset();
    }

   private:
    struct Part {
        std::shared_ptr<Surface> surface;
        int64_t first, channels, positions;
        std::optional<int64_t> column;

        Channels located() const { return {*surface, first, channels, positions, column}; }
    };

    struct Operand {
        std::vector<Part> parts;
        int64_t channels = 0, positions = 0;
        const float* data = nullptr;

        // The values of a surface are converted when they are needed: no copy of it exists before.
        const float* floats(std::vector<float>& memory) const {
            if (data) return data;
            memory.resize(std::max(memory.size(), static_cast<size_t>(channels * positions)));
            float* to = memory.data();
            for (const Part& part : parts) {
                read(part.located(), to);
                to += part.channels * positions;
            }
            return memory.data();
        }
    };

    static std::pair<Operand, Operand> operands(const py::object& dy_object, const py::object& x_object) {
        const Operand dy = operand(dy_object, "dy"), x = operand(x_object, "x");
        if (dy.positions != x.positions)
            throw ArgumentError("dy has " + std::to_string(dy.positions) + " positions, x has " +
                                std::to_string(x.positions));
        return {dy, x};
    }

    static Operand operand(const py::object& object, const char* name) {
        if (!py::isinstance<py::tuple>(object) && !py::isinstance<py::list>(object)) {
            const Floats x = input(object, name, {any, any});
            return {{}, x.shape[0], x.shape[1], x.data};
        }
        Operand result;
        const auto sequence = py::reinterpret_borrow<py::sequence>(object);
        const bool is_one =
            py::isinstance<py::tuple>(object) && sequence.size() > 0 && py::isinstance<Surface>(sequence[0]);
        const py::sequence parts = is_one ? py::sequence(py::make_tuple(object)) : sequence;
        for (const py::handle each : parts) {
            const Part added = part(each, name);
            if (result.parts.empty()) result.positions = added.positions;
            if (added.positions != result.positions)
                throw ArgumentError(std::string(name) + " has parts of " + std::to_string(result.positions) +
                                    " and of " + std::to_string(added.positions) + " positions");
            result.channels += added.channels;
            result.parts.push_back(added);
        }
        if (result.parts.empty()) throw ArgumentError(std::string(name) + " has no parts");
        return result;
    }

    static Part part(py::handle object, const char* name) {
        const bool is_tuple = py::isinstance<py::tuple>(object);
        const auto fields = is_tuple ? py::reinterpret_borrow<py::tuple>(object) : py::tuple();
        if ((fields.size() != 3 && fields.size() != 5) || !py::isinstance<Surface>(fields[0]))
            throw ArgumentError(std::string(name) +
                                " must be an array, or (surface, first channel, channels)");
        Part result{fields[0].cast<std::shared_ptr<Surface>>(), to_integer(fields[1], "first channel"),
                    to_integer(fields[2], "channels"), 0, std::nullopt};
        if (fields.size() == 5) {
            result.positions = to_integer(fields[3], "positions");
            result.column = column_of(fields[4]);
        } else {
            result.positions = result.surface->layout() ? result.surface->layout()->width() : 0;
        }
        result.located();
        return result;
    }

    std::vector<float> dy_, x_, narrow_;  // of the job that runs
    std::deque<py::tuple> held_;          // what jobs work on; let go of where the interpreter's lock is held
    int64_t released_ = 0;                // of all that were held
    std::unique_ptr<WorkQueue> queue_ = std::make_unique<WorkQueue>();
};

}  // namespace

void bind_gradient_queue(py::module_& module) {
    py::class_<GradientQueue>(
        module, "GradientQueue",
        "A queue of weight gradients, computed one after the other on a thread of its own.")
        .def(py::init())
        .def(
            "add", &GradientQueue::add, py::arg("dy"), py::arg("x"), py::arg("dweight"), py::arg("name") = "",
            py::arg("base") = py::none(), py::arg("flags") = py::none(),
            "Queue dweight [O, I] = base + dy [O, S] x [I, S]^T, then raise the flags.\n\n"
            "dy and x are arrays, parts of surfaces, or lists of parts whose channels follow one another. No "
            "array\n"
            "may change before `wait`. The base may be dweight; None is 0. See `raise_flags`.")
        .def("add_adapter", &GradientQueue::add_adapter, py::arg("dy"), py::arg("x"), py::arg("a"),
             py::arg("b"), py::arg("da"), py::arg("db"), py::kw_only(), py::arg("scale"),
             py::arg("name") = "", py::arg("base_a") = py::none(), py::arg("base_b") = py::none(),
             py::arg("flags") = py::none(),
             "Queue the gradients of a [R, I] and b [O, R] of a weight [O, I] to which scale * b a is "
             "added.\n\n"
             "da = base_a + scale * (b^T dy) x^T and db = base_b + scale * dy (a x)^T, with dy [O, S] and x "
             "[I, S]\n"
             "as `add` takes them. The gradient of the weight is not computed.")
        .def("wait", &GradientQueue::wait, "Wait until every queued gradient is computed.")
        .def("take_spans", &GradientQueue::take_spans,
             "Return (name, begin, end) of each product since the last call, in ns of time.monotonic_ns.");
}

}  // namespace ane::python
