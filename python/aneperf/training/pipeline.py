"""A training step of the static pipelines, whose kernels have their weights baked in.

Between kernels, activations are fp32 [C, S] on the host; kernels read and write fp16 channels of surfaces.
The surfaces keep what the gradients of weights need until the step ends, so it is never copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _ane_native as native
from ..kernels import TransformerConfig, schedule
from ..kernels.schedule import Pipeline
from .accounting import Clock, Span
from .kernels import Channels, Floats, LoadedKernel

Tokens = NDArray[np.integer[Any]]

_NORMS_BACKWARD = {"rms1": "norm1_backward", "rms2": "norm2_backward"}


class StaticPipeline:
    """Computes forward, loss and backward of one sequence; the final norm and the classifier on the CPU."""

    schedule: Pipeline = "static"

    def __init__(
        self,
        device: native.Device,
        config: TransformerConfig,
        parameters: Mapping[str, Floats],
        *,
        as_published: bool = False,
    ) -> None:
        self.config = config
        self.clock = Clock()
        self._parameters = parameters
        self._classifier = "classifier" if "classifier" in parameters else "embedding"
        self._kernels = {
            scheduled.name: LoadedKernel(device, config, scheduled, parameters, as_published)
            for scheduled in schedule(config, self.schedule)
        }
        self._queue = native.GradientQueue()
        # The input of each layer and of its feed-forward; the last is the output of the layers.
        self._residual = [self._activations(config.dim) for _ in range(2 * config.layers + 1)]
        self._normed, self._dnormed, self._dx = (self._activations(config.dim) for _ in range(3))
        self._logits = self._activations(config.vocab)  # their gradient, once the loss is known
        self._gradients: Mapping[str, Floats] = {}
        self._base: Mapping[str, Floats] | None = None

    def load_fixed(self) -> int:
        """Compile the kernels without weights and return their number."""
        return self._load([kernel for kernel in self._kernels.values() if not kernel.has_weights])

    def load(self) -> int:
        """Compile the kernels with weights, with the current parameters, and return their number."""
        return self._load([kernel for kernel in self._kernels.values() if kernel.has_weights])

    def step(
        self,
        tokens: Tokens,
        targets: Tokens,
        gradients: Mapping[str, Floats],
        *,
        base: Mapping[str, Floats] | None = None,
        loss_scale: float = 1.0,
    ) -> float:
        """Train tokens and targets [seq], and return the mean loss in nats.

        Sets `gradients`, by parameter, to `base` (0 if None) plus the gradient times `loss_scale`.
        """
        self._gradients, self._base = gradients, base
        for name, gradient in gradients.items():
            if gradient.ndim == 1:
                gradient[:] = 0 if base is None else base[name]
        self.clock.phase = "fwd"
        self._forward(tokens)
        loss = self._loss(targets, loss_scale)
        self.clock.phase = "bwd"
        self._backward()
        with self.clock("cblas_wait"):
            self._queue.wait()
        self._embedding_backward(tokens)
        return loss

    def take_spans(self) -> tuple[list[Span], list[Span]]:
        """Return when the components and the products of the weights' gradients ran since the last call."""
        return self.clock.take(), self._queue.take_spans()

    def _forward(self, tokens: Tokens) -> None:
        """Compute the residual stream [dim, S] after each half of each layer from tokens [S]."""
        with self.clock("elem"):
            native.embed(self._parameters["embedding"], tokens, self._residual[0])
        for layer in range(self.config.layers):
            for half, kind in enumerate(("attention_forward", "feed_forward_forward")):
                kernel = self._kernel(layer, kind)
                x, y = self._residual[2 * layer + half : 2 * layer + half + 2]
                with self.clock("io"):
                    kernel.input("x").write(x)
                with self.clock("ane"):
                    kernel.evaluate()
                with self.clock("elem"):
                    out = kernel.output("out")
                    native.add_channels(out.surface, out.first, x, y)

    def _loss(self, targets: Tokens, loss_scale: float) -> float:
        """Return the loss of the last residual; leave the gradient of the logits [vocab, S] in `_logits`."""
        with self.clock("rms"):
            native.rms_norm(self._residual[-1], self._parameters["norm"], self.config.norm_eps, self._normed)
        with self.clock("cls"):
            native.product(self._parameters[self._classifier], self._normed, self._logits)
        with self.clock("elem"):
            return native.cross_entropy(self._logits, targets, loss_scale)

    def _backward(self) -> None:
        """Turn the gradient of the logits into that of the embedded tokens [dim, S], in `_dx`."""
        self._add_gradient(self._classifier, self._logits, self._normed)
        with self.clock("cls"):
            native.product(self._parameters[self._classifier], self._logits, self._dnormed, transpose_a=True)
        self._dx[:] = 0
        self._norm_backward(self._residual[-1], "norm")
        for layer in reversed(range(self.config.layers)):
            self._feed_forward_backward(layer)
            self._attention_backward(layer)

    def _feed_forward_backward(self, layer: int) -> None:
        """Add the gradient through the feed-forward to `_dx`, which is that of its output."""
        forward, backward = (self._kernel(layer, f"feed_forward_{way}") for way in ("forward", "backward"))
        with self.clock("io"):
            backward.input("dout").write(self._dx)
            forward.output("h1", "h3").copy_to(backward.input("h1", "h3"))
        with self.clock("ane"):
            backward.evaluate()
        with self.clock("io"):
            backward.output("dnormed").read(self._dnormed)
        normed = forward.output("normed")
        self._add_gradient(f"layers.{layer}.w2", backward.input("dout"), forward.output("gated"))
        self._add_gradient(f"layers.{layer}.w1", backward.output("dh1"), normed)
        self._add_gradient(f"layers.{layer}.w3", backward.output("dh3"), normed)
        self._norm_backward(self._residual[2 * layer + 1], f"layers.{layer}.rms2")

    def _attention_backward(self, layer: int) -> None:
        """Add the gradient through attention to `_dx`, which is that of its output."""
        forward = self._kernel(layer, "attention_forward")
        scores = self._kernel(layer, "attention_backward_scores")
        queries = self._kernel(layer, "attention_backward_queries")
        projections = self._kernel(layer, "projections_backward")
        with self.clock("io"):
            forward.output("q", "k", "v").copy_to(scores.input("q", "k", "v"))
            scores.input("dout").write(self._dx)
        with self.clock("ane"):
            scores.evaluate()
        with self.clock("io"):
            matrices = ("probabilities", "dprobabilities")
            scores.output(*matrices).copy_to(queries.input(*matrices))
            forward.output("q", "k").copy_to(queries.input("q", "k"))
        with self.clock("ane"):
            queries.evaluate()
        with self.clock("io"):
            queries.output("dq", "dk").copy_to(projections.input("dq", "dk"))
            scores.output("dv").copy_to(projections.input("dv"))
            if self.config.qk_norm:
                projected = ("q_projected", "k_projected")
                forward.output(*projected).copy_to(projections.input(*projected))
        with self.clock("ane"):
            projections.evaluate()
        with self.clock("io"):
            projections.output("dnormed").read(self._dnormed)
        normed = forward.output("normed")
        dq, dk = queries.output("dq"), queries.output("dk")
        if self.config.qk_norm:
            dq, dk = projections.output("dq_projected"), projections.output("dk_projected")
            for name in ("q_norm", "k_norm"):
                self._head_norm_backward(projections.output(f"d{name}"), f"layers.{layer}.{name}")
        self._add_gradient(f"layers.{layer}.wo", scores.input("dout"), forward.output("context"))
        self._add_gradient(f"layers.{layer}.wq", dq, normed)
        self._add_gradient(f"layers.{layer}.wk", dk, normed)
        self._add_gradient(f"layers.{layer}.wv", scores.output("dv"), normed)
        self._norm_backward(self._residual[2 * layer], f"layers.{layer}.rms1")

    def _embedding_backward(self, tokens: Tokens) -> None:
        gradient = self._gradients["embedding"]
        with self.clock("elem"):
            if self._classifier != "embedding":
                gradient[:] = 0 if self._base is None else self._base["embedding"]
            native.embed_backward(self._dx, tokens, gradient)

    def _add_gradient(self, name: str, dy: Channels | Floats, x: Channels | Floats) -> None:
        """Queue the product dy [O, S] * transposed x [I, S], the gradient of a matrix [O, I]."""
        base = None if self._base is None else self._base[name]
        self._queue.add(dy, x, self._gradients[name], name, base)

    def _norm_backward(self, x: Floats, name: str) -> None:
        """Add the gradient of a norm of x [dim, S], from `_dnormed`, to `_dx` and to its weight's."""
        with self.clock("rms"):
            native.rms_norm_backward(
                self._dnormed,
                x,
                self._parameters[name],
                self.config.norm_eps,
                self._dx,
                self._gradients[name],
            )

    def _head_norm_backward(self, by_position: Channels, name: str) -> None:
        """Add up the gradient of a head norm's weight, which a kernel computed for each position."""
        with self.clock("io"):
            values = self._activations(self.config.head_dim)
            by_position.read(values)
        with self.clock("rms"), np.errstate(over="ignore", invalid="ignore"):  # the update skips them
            self._gradients[name] += values.sum(axis=1)

    def _load(self, kernels: list[LoadedKernel]) -> int:
        for kernel in kernels:
            kernel.load(self._parameters)
        return len(kernels)

    def _kernel(self, layer: int, kind: str) -> LoadedKernel:
        return self._kernels[f"layers.{layer}.{kind}"]

    def _activations(self, channels: int) -> Floats:
        return np.zeros((channels, self.config.seq), np.float32)


class StaticAnePipeline(StaticPipeline):
    """Also computes the norms, the classifier and its softmax on the device.

    The classifier's backward stays on the CPU: the engine's compiler refuses a conv with as many input
    channels as the vocabulary has tokens.
    """

    schedule = "static-ane"

    def _loss(self, targets: Tokens, loss_scale: float) -> float:
        norm, classifier = self._kernels["norm_forward"], self._kernels["classifier_forward"]
        softmax, logits = self._kernels["classifier_softmax"], classifier.output("logits")
        with self.clock("io"):
            norm.input("x").write(self._residual[-1])
        with self.clock("ane"):
            norm.evaluate()
        with self.clock("io"):
            norm.output("normed").copy_to(classifier.input("normed"))
            norm.output("normed").read(self._normed)
        with self.clock("ane"):
            classifier.evaluate()
        with self.clock("io"):
            logits.copy_to(softmax.input("logits"))
        with self.clock("ane"):
            softmax.evaluate()
        with self.clock("io"):
            softmax.output("probabilities").read(self._logits)
        with self.clock("elem"):
            return native.cross_entropy_of_probabilities(
                self._logits, logits.surface, logits.first, targets, loss_scale
            )

    def _norm_backward(self, x: Floats, name: str) -> None:
        layer, _, kind = name.rpartition(".")
        if kind not in _NORMS_BACKWARD:
            super()._norm_backward(x, name)
            return
        kernel = self._kernels[f"{layer}.{_NORMS_BACKWARD[kind]}"]
        with self.clock("io"):
            kernel.input("dnormed").write(self._dnormed)
            kernel.input("x").write(x)
        with self.clock("ane"):
            kernel.evaluate()
        with self.clock("elem"):
            dx = kernel.output("dx")
            native.add_channels(dx.surface, dx.first, self._dx, self._dx)
        with self.clock("rms"):
            weight, dweight = self._parameters[name], self._gradients[name]
            native.rms_norm_backward(self._dnormed, x, weight, self.config.norm_eps, None, dweight)


PIPELINES: dict[Pipeline, type[StaticPipeline]] = {
    pipeline.schedule: pipeline for pipeline in (StaticPipeline, StaticAnePipeline)
}
