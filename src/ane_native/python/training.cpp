// The CPU's part of training: functions on fp32 numpy arrays, in place, without the GIL.
#include <pybind11/numpy.h>

#include <cmath>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "cpu/machine.h"
#include "cpu/product.h"
#include "errors.h"
#include "training/channels.h"
#include "training/embedding.h"
#include "training/flags.h"
#include "training/gate.h"
#include "training/loss.h"
#include "training/norm.h"
#include "training/optimizer.h"

namespace ane::python {

namespace {

using namespace training;

using Tokens = Typed<"Sequence[int] | NDArray[np.integer[Any]]">;
using OptionalInt = Typed<"int | None">;

void raise_all(const FlagArray& object) {
    const Flags flags = flags_in(object);
    raise_flags(flags.data, flags.count);
}

bool all_raised(const FlagArray& object) {
    const Flags flags = flags_in(object);
    return are_raised(flags.data, flags.count);
}

Shape any_shape(const py::object& object) {
    const bool is_array = py::isinstance<py::array>(object);
    return Shape(is_array ? static_cast<size_t>(py::reinterpret_borrow<py::array>(object).ndim()) : 0, any);
}

std::vector<int32_t> token_ids(const py::object& object, const char* name, int64_t vocab) {
    const auto array = py::array_t<int64_t, py::array::c_style | aligned>::ensure(object);
    if (!array || array.ndim() != 1) {
        PyErr_Clear();
        throw ArgumentError(std::string(name) + " must be a one-dimensional array of integers");
    }
    std::vector<int32_t> result;
    for (py::ssize_t i = 0; i < array.size(); ++i) {
        const int64_t token = array.data()[i];
        if (token < 0 || token >= vocab)
            throw ArgumentError(std::string(name) + "[" + std::to_string(i) + "] is " +
                                std::to_string(token) + "; the vocabulary has " + std::to_string(vocab));
        result.push_back(static_cast<int32_t>(token));
    }
    return result;
}

void write_channels(Surface& surface, int64_t first, const FloatArray& object, const OptionalInt& column,
                    bool transpose) {
    const Floats x = input(object, "x", {any, any});
    const Channels to(surface, first, x.shape[transpose ? 1 : 0], x.shape[transpose ? 0 : 1],
                      column_of(column));
    const WithoutGil without_gil;
    if (transpose)
        write_transposed(to, x.data);
    else
        write(to, x.data);
}

void read_channels(Surface& surface, int64_t first, const FloatArray& object) {
    const Floats y = output(object, "out", {any, any});
    const Channels from(surface, first, y.shape[0], y.shape[1]);
    const WithoutGil without_gil;
    read(from, y.data);
}

void add_channels(Surface& surface, int64_t first, const FloatArray& x_object, const FloatArray& object) {
    const Floats y = output(object, "out", {any, any});
    const Floats x = input(x_object, "x", y.shape);
    const Channels from(surface, first, y.shape[0], y.shape[1]);
    const WithoutGil without_gil;
    read_and_add(from, x.data, y.data);
}

void copy_channels(Surface& from, int64_t from_first, Surface& to, int64_t to_first, int64_t count,
                   const OptionalInt& to_column) {
    if (!from.layout() || from.layout()->shape.empty())
        throw SurfaceError("the surface was not made for an fp16 tensor [1, channels, 1, positions]");
    const int64_t positions = from.layout()->shape.back();
    const Channels source(from, from_first, count, positions),
        target(to, to_first, count, positions, column_of(to_column));
    const WithoutGil without_gil;
    copy(source, target);
}

NormShape norm_shape(const Floats& x, double epsilon) {
    if (!(epsilon > 0)) throw ArgumentError("epsilon must be positive");
    return {x.shape[0], x.shape[1], static_cast<float>(epsilon)};
}

void norm(const FloatArray& x_object, const FloatArray& weight_object, double epsilon,
          const FloatArray& object) {
    const Floats x = input(x_object, "x", {any, any});
    const Floats weight = input(weight_object, "weight", {x.shape[0]}), y = output(object, "out", x.shape);
    const NormShape shape = norm_shape(x, epsilon);
    const WithoutGil without_gil;
    rms_norm(shape, x.data, weight.data, y.data);
}

void norm_backward(const FloatArray& dy_object, const FloatArray& x_object, const FloatArray& weight_object,
                   double epsilon, const OptionalFloatArray& dx_object,
                   const OptionalFloatArray& dweight_object) {
    const Floats x = input(x_object, "x", {any, any}), dy = input(dy_object, "dy", x.shape);
    const Floats weight = input(weight_object, "weight", {x.shape[0]});
    float* dx = dx_object.is_none() ? nullptr : output(dx_object, "dx", x.shape).data;
    float* dweight =
        dweight_object.is_none() ? nullptr : output(dweight_object, "dweight", weight.shape).data;
    const NormShape shape = norm_shape(x, epsilon);
    const WithoutGil without_gil;
    rms_norm_backward(shape, dy.data, x.data, weight.data, dx, dweight);
}

void swiglu_backward(const FloatArray& dgated_object, const FloatArray& h1_object,
                     const FloatArray& h3_object, const FloatArray& dh1_object,
                     const FloatArray& dh3_object) {
    const Floats dgated = input(dgated_object, "dgated", {any, any});
    const Floats h1 = input(h1_object, "h1", dgated.shape), h3 = input(h3_object, "h3", dgated.shape);
    const Floats dh1 = output(dh1_object, "dh1", dgated.shape), dh3 = output(dh3_object, "dh3", dgated.shape);
    const WithoutGil without_gil;
    gate_backward(dgated.data, h1.data, h3.data, dh1.data, dh3.data, dgated.count);
}

void embedding(const FloatArray& table_object, const Tokens& tokens_object, const FloatArray& object) {
    const Floats table = input(table_object, "table", {any, any});
    const auto tokens = token_ids(tokens_object, "tokens", table.shape[0]);
    const Floats y = output(object, "out", {table.shape[1], static_cast<int64_t>(tokens.size())});
    const WithoutGil without_gil;
    embed(table.data, tokens.data(), table.shape[1], y.shape[1], y.data);
}

void embedding_backward(const FloatArray& dy_object, const Tokens& tokens_object, const FloatArray& object) {
    const Floats dtable = output(object, "dtable", {any, any});
    const auto tokens = token_ids(tokens_object, "tokens", dtable.shape[0]);
    const Floats dy = input(dy_object, "dy", {dtable.shape[1], static_cast<int64_t>(tokens.size())});
    const WithoutGil without_gil;
    embed_backward(dy.data, tokens.data(), dtable.shape[1], dy.shape[1], dtable.data);
}

std::vector<int32_t> target_ids(const py::object& object, const Floats& x) {
    auto targets = token_ids(object, "targets", x.shape[0]);
    if (static_cast<int64_t>(targets.size()) != x.shape[1])
        throw ArgumentError("targets has " + std::to_string(targets.size()) + " elements, where there are " +
                            std::to_string(x.shape[1]) + " positions");
    return targets;
}

double loss(const FloatArray& object, const Tokens& targets_object, double scale) {
    const Floats logits = output(object, "logits", {any, any});
    const auto targets = target_ids(targets_object, logits);
    const WithoutGil without_gil;
    return cross_entropy(logits.data, targets.data(), logits.shape[0], logits.shape[1],
                         static_cast<float>(scale));
}

double loss_of_probabilities(const FloatArray& object, Surface& surface, int64_t first,
                             const Tokens& targets_object, double scale) {
    const Floats probabilities = output(object, "probabilities", {any, any});
    const auto targets = target_ids(targets_object, probabilities);
    const Channels logits(surface, first, probabilities.shape[0], probabilities.shape[1]);
    const WithoutGil without_gil;
    return cross_entropy_of_probabilities(probabilities.data, logits, targets.data(),
                                          static_cast<float>(scale));
}

void adam_step(const FloatArray& parameter_object, const FloatArray& gradient_object,
               const FloatArray& mean_object, const FloatArray& variance_object, int64_t step,
               double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
               double gradient_scale) {
    const Floats parameter = output(parameter_object, "parameter", any_shape(parameter_object));
    const Floats gradient = input(gradient_object, "gradient", parameter.shape);
    const Floats mean = output(mean_object, "mean", parameter.shape),
                 variance = output(variance_object, "variance", parameter.shape);
    if (step < 1) throw ArgumentError("step is " + std::to_string(step) + "; the first is 1");
    if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1))
        throw ArgumentError("beta1 and beta2 must be in [0, 1)");
    const cpu::AdamStep settings{static_cast<float>(learning_rate),
                                 static_cast<float>(beta1),
                                 static_cast<float>(beta2),
                                 static_cast<float>(epsilon),
                                 static_cast<float>(weight_decay),
                                 static_cast<float>(1 / (1 - std::pow(beta1, static_cast<double>(step)))),
                                 static_cast<float>(1 / (1 - std::pow(beta2, static_cast<double>(step)))),
                                 static_cast<float>(gradient_scale)};
    const WithoutGil without_gil;
    adam(settings, gradient.data, parameter.data, mean.data, variance.data, parameter.count);
}

double squares(const FloatArray& object) {
    const Floats x = input(object, "x", any_shape(object));
    const WithoutGil without_gil;
    return sum_of_squares(x.data, x.count);
}

void multiply(const FloatArray& a_object, const FloatArray& b_object, const FloatArray& object,
              bool transpose_a, bool transpose_b, const OptionalFloatArray& base_object) {
    const Floats c = output(object, "out", {any, any});
    const int64_t m = c.shape[0], n = c.shape[1];
    const Floats a = input(a_object, "a", transpose_a ? Shape{any, m} : Shape{m, any});
    const int64_t k = a.shape[transpose_a ? 0 : 1];
    const Floats b = input(b_object, "b", transpose_b ? Shape{n, k} : Shape{k, n});
    const float* base = optional_input(base_object, "base", c.shape);
    const WithoutGil without_gil;
    cpu::product(transpose_a ? cpu::Transpose::yes : cpu::Transpose::no,
                 transpose_b ? cpu::Transpose::yes : cpu::Transpose::no, m, n, k, a.data, b.data, base,
                 c.data);
}

}  // namespace

void bind_training(py::module_& module) {
    module.def(
        "write_channels", write_channels, py::arg("surface"), py::arg("first"), py::arg("x"),
        py::arg("column") = py::none(), py::arg("transpose") = false,
        "Round x [C, S] to fp16 and write it to channels of a surface [1, channels, 1, W], from `first` "
        "on.\n\n"
        "W is S unless x goes to a `column` and those that follow. With `transpose`, x is [S, C].");
    module.def("read_channels", read_channels, py::arg("surface"), py::arg("first"), py::arg("out"),
               "Read channels of a surface [1, channels, 1, S], from `first` on, to out [C, S].");
    module.def("add_channels", add_channels, py::arg("surface"), py::arg("first"), py::arg("x"),
               py::arg("out"),
               "Add x and channels of a surface, from `first` on, to out [C, S], which may be x.");
    module.def("copy_channels", copy_channels, py::arg("source"), py::arg("source_first"), py::arg("target"),
               py::arg("target_first"), py::arg("count"), py::arg("target_column") = py::none(),
               "Copy whole channels from one fp16 surface to another, or to a column and those that follow.");
    module.def("rms_norm", norm, py::arg("x"), py::arg("weight"), py::arg("epsilon"), py::arg("out"),
               "Apply RMSNorm over the channels of x [C, S], times weight [C].");
    module.def("rms_norm_backward", norm_backward, py::arg("dy"), py::arg("x"), py::arg("weight"),
               py::arg("epsilon"), py::arg("dx"), py::arg("dweight"),
               "Add the gradients of rms_norm to dx [C, S] and dweight [C], unless they are None.");
    module.def("swiglu_backward", swiglu_backward, py::arg("dgated"), py::arg("h1"), py::arg("h3"),
               py::arg("dh1"), py::arg("dh3"),
               "Compute the gradients of h1 and h3 from that of silu(h1) * h3, all [C, S].");
    module.def("embed", embedding, py::arg("table"), py::arg("tokens"), py::arg("out"),
               "Copy rows of table [V, C], chosen by token, to the columns of out [C, S].");
    module.def("embed_backward", embedding_backward, py::arg("dy"), py::arg("tokens"), py::arg("dtable"),
               "Add the columns of dy [C, S] to the rows of dtable [V, C].");
    module.def("cross_entropy", loss, py::arg("logits"), py::arg("targets"), py::arg("scale") = 1.0,
               "Return the mean over positions of -log softmax(logits [V, S])[target].\n\n"
               "Leaves its gradient times `scale` in logits.");
    module.def(
        "cross_entropy_of_probabilities", loss_of_probabilities, py::arg("probabilities"), py::arg("logits"),
        py::arg("first"), py::arg("targets"), py::arg("scale") = 1.0,
        "Return the same from probabilities [V, S] and channels of the logits' surface, from `first` on.\n\n"
        "Leaves the gradient of the logits times `scale` in probabilities. Exact for targets whose "
        "probability\n"
        "is too small for fp16.");
    module.def("adam", adam_step, py::arg("parameter"), py::arg("gradient"), py::arg("mean"),
               py::arg("variance"), py::kw_only(), py::arg("step"), py::arg("learning_rate"),
               py::arg("beta1"), py::arg("beta2"), py::arg("epsilon"), py::arg("weight_decay"),
               py::arg("gradient_scale"),
               "Take step number `step`, from 1 on, of AdamW (Loshchilov & Hutter 2019).\n\n"
               "The gradient is multiplied by `gradient_scale` first. A weight decay of 0 is plain Adam.");
    module.def("sum_of_squares", squares, py::arg("x"),
               "Return the sum of x * x, the same for any number of threads.");
    module.def("product", multiply, py::arg("a"), py::arg("b"), py::arg("out"), py::kw_only(),
               py::arg("transpose_a") = false, py::arg("transpose_b") = false, py::arg("base") = py::none(),
               "Multiply a [M, K] by b [K, N], to out [M, N], and add `base` if it is not None.\n\n"
               "A transposed operand is stored [K, M] or [N, K]. The base may be out.");
    module.def("physical_cores", cpu::physical_cores,
               "Count the physical cores that this process may run on: on a Mac, the fast ones.");
    module.def("raise_flags", raise_all, py::arg("flags"),
               "Set flags [N] in shared memory to 1.\n\n"
               "A process that finds them raised sees everything written before.");
    module.def("flags_raised", all_raised, py::arg("flags"),
               "Tell whether all of the flags [N] are raised: not 0.");
}

}  // namespace ane::python
