"""The dynamic pipeline: kernels that are compiled once a process, with weights as inputs."""

from __future__ import annotations

from collections.abc import Mapping

from .. import _ane_native as native
from ..chips import profile_of
from ..errors import ArgumentError
from ..kernels import Kernel, TransformerConfig
from ..kernels.config import layer_shapes
from ..kernels.shared import SHARED_KERNELS, SharedFamily
from .kernels import Floats, Operand
from .shared_kernels import Input, LayerKernel, Output, SharedKernel
from .step import TrainingStep


class DynamicPipeline(TrainingStep):
    """Computes the products of the layers on the device; the norms and the classifier on the CPU.

    The loss counts as "cls", as published.
    """

    as_published = False
    loss_component = "cls"

    def __init__(
        self, device: native.Device, config: TransformerConfig, parameters: Mapping[str, Floats]
    ) -> None:
        super().__init__(config, parameters)
        self._shared = [
            SharedKernel(device, *fitting) for fitting in fitting_kernels(device, config, self.as_published)
        ]
        self._layers: list[dict[str, LayerKernel]] = []

    def load_fixed(self) -> int:
        """Compile the kernels, and make the surfaces and requests of all layers."""
        for kernel in self._shared:
            kernel.compile()
        self._layers = [
            {kernel.family.name: kernel.layer() for kernel in self._shared} for _ in range(self.config.layers)
        ]
        return len(self._shared)

    def load(self) -> int:
        """Stage the current parameters in the kernels' inputs: nothing is compiled."""
        names = layer_shapes(self.config)
        for layer, kernels in enumerate(self._layers):
            weights = {name: self._parameters[f"layers.{layer}.{name}"] for name in names}
            for kernel in kernels.values():
                kernel.stage(weights)
        return 0

    def _forward_layer(self, layer: int) -> None:
        x, middle, y = self._residual[2 * layer : 2 * layer + 3]
        kernels = self._layers[layer]
        attention, output = kernels["attention_forward"], kernels["output_forward"]
        self._norm(x, f"layers.{layer}.rms1", attention.input("normed"))
        self._evaluate(attention)
        self._copy((attention.output("context"), output.input("context")))
        self._evaluate(output)
        self._add_attention(output.output("out"), x, middle)
        feed_forward = kernels["feed_forward_forward"]
        self._norm(middle, f"layers.{layer}.rms2", feed_forward.input("normed"))
        self._feed_forward(feed_forward, middle, y)

    def _feed_forward_backward(self, layer: int) -> None:
        kernels = self._layers[layer]
        forward, gated = kernels["feed_forward_forward"], kernels["gated_backward"]
        backward = kernels["feed_forward_backward"]
        self._write_gradient(gated.input("dout"))
        self._evaluate(gated)
        dh1, dh3 = self._gate_backward(forward, gated, backward)
        with self.clock("io"):
            backward.output("dnormed").read(self._dnormed)
        normed = forward.input("normed").operand
        self._add_gradient(f"layers.{layer}.w2", gated.input("dout").operand, forward.output("gated").operand)
        self._add_gradient(f"layers.{layer}.w1", dh1, normed)
        self._add_gradient(f"layers.{layer}.w3", dh3, normed)
        self._norm_backward(self._residual[2 * layer + 1], f"layers.{layer}.rms2")

    def _attention_backward(self, layer: int) -> None:
        kernels = self._layers[layer]
        forward, output = kernels["attention_forward"], kernels["output_forward"]
        context, scores = kernels["context_backward"], kernels["scores_backward_of_context"]
        softmax = kernels["softmax_backward"]
        query, key_value = kernels["query_backward"], kernels["key_value_backward"]
        self._write_gradient(context.input("dout"))
        self._evaluate(context)
        self._copy(
            (forward.output("q"), scores.input("q")),
            (context.output("dcontext"), scores.input("dcontext")),
        )
        self._copy_heads(forward.output("k"), scores.input("k"))
        self._copy_heads(forward.output("v"), scores.input("v"))
        self._evaluate(scores)
        matrices = ("probabilities", "dprobabilities")
        self._copy(
            *((scores.output(name), softmax.input(name)) for name in matrices),
            (forward.output("q"), softmax.input("q")),
        )
        self._copy_heads(forward.output("k"), softmax.input("k"))
        self._evaluate(softmax)
        self._projected_gradients(
            (softmax.output("dq"), query.input("dq")),
            (softmax.output("dk"), key_value.input("dk")),
            (scores.output("dv"), key_value.input("dv")),
        )
        dq: Operand = query.input("dq").operand
        dk: Operand = key_value.input("dk").operand
        if self.config.qk_norm:
            self._copy(
                (forward.output("q_projected"), query.input("q_projected")),
                (forward.output("k_projected"), key_value.input("k_projected")),
            )
            dq, dk = query.output("dq_projected").operand, key_value.output("dk_projected").operand
        self._evaluate(query)
        self._evaluate(key_value)
        with self.clock("io"):
            query.output("dnormed").read(self._dnormed)
        with self.clock("elem"):
            key_value.output("dnormed").add(self._dnormed, self._dnormed)
        if self.config.qk_norm:
            self._head_norm_backward(query.output("dq_norm").chunks[0], f"layers.{layer}.q_norm")
            self._head_norm_backward(key_value.output("dk_norm").chunks[0], f"layers.{layer}.k_norm")
        normed, dv = forward.input("normed").operand, key_value.input("dv").operand
        self._add_gradient(
            f"layers.{layer}.wo", context.input("dout").operand, output.input("context").operand
        )
        self._add_gradient(f"layers.{layer}.wq", dq, normed)
        self._add_gradient(f"layers.{layer}.wk", dk, normed)
        self._add_gradient(f"layers.{layer}.wv", dv, normed)
        self._norm_backward(self._residual[2 * layer], f"layers.{layer}.rms1")

    def _add_attention(self, out: Output, x: Floats, y: Floats) -> None:
        """Set y to x plus what attention adds."""
        with self.clock("elem"):
            out.add(x, y)

    def _feed_forward(self, kernel: LayerKernel, x: Floats, y: Floats) -> None:
        """Set y to x plus what the feed-forward adds."""
        self._evaluate(kernel)
        with self.clock("elem"):
            kernel.output("out").add(x, y)

    def _write_gradient(self, to: Input) -> None:
        """Write the gradient of what a residual branch adds."""
        with self.clock("io"):
            to.write(self._dx)

    def _gate_backward(
        self, forward: LayerKernel, gated: LayerKernel, backward: LayerKernel
    ) -> tuple[Operand, Operand]:
        """Evaluate the backward of the gate and of W1 and W3; return the gradients of h1 and h3."""
        self._copy(
            (gated.output("dgated"), backward.input("dgated")),
            *((forward.output(name), backward.input(name)) for name in ("h1", "h3")),
        )
        self._evaluate(backward)
        return backward.output("dh1").operand, backward.output("dh3").operand

    def _copy_heads(self, output: Output, to: Input) -> None:
        """Copy keys or values to a backward kernel."""
        self._copy((output, to))

    def _projected_gradients(self, *parts: tuple[Output, Input]) -> None:
        """Copy the gradients of queries, keys and values to the backward of their projections."""
        self._copy(*parts)

    def _norm(self, x: Floats, name: str, to: Input) -> None:
        """Write the norm of x [dim, S] to the input of a kernel."""
        with self.clock("rms"):
            native.rms_norm(x, self._parameters[name], self.config.norm_eps, self._normed)
        with self.clock("io"):
            to.write(self._normed)

    def _evaluate(self, kernel: LayerKernel) -> None:
        with self.clock("ane"):
            kernel.evaluate()

    def _copy(self, *parts: tuple[Output, Input]) -> None:
        with self.clock("io"):
            for output, to in parts:
                output.copy_to(to)


def fitting_kernels(
    device: native.Device, config: TransformerConfig, as_published: bool = False
) -> list[tuple[SharedFamily, Kernel, int]]:
    """Return each kernel and its number of chunks. Raises ArgumentError if one is too wide for the device."""
    widest = _widest_input(device)
    return [(family, *family.fitting(config, widest, as_published=as_published)) for family in SHARED_KERNELS]


def _widest_input(device: native.Device) -> int:
    """Return the longest last axis that the device takes; an unknown engine counts as the oldest."""
    properties = device.info()
    try:
        profile = profile_of(properties.get("subtype") or properties["chip"])
    except ArgumentError:
        profile = "h13"
    return int(native.chip_profile(profile)["max_spatial_extent"])
