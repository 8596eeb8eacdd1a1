"""A training step on the device: the static pipeline, whose kernels have their weights baked in.

Between layers activations are fp32 [C, S] on the host; kernels take and give fp16 channels of surfaces. What
the gradients of weights need stays in the surfaces until the step ends, so that it is never copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _ane_native as native
from ..kernels import TransformerConfig, schedule
from ..kernels.schedule import Pipeline
from .clock import Clock, Span
from .kernels import Channels, Floats, LoadedKernel

Tokens = NDArray[np.integer[Any]]


class StaticPipeline:
    """Forward, loss and backward of one sequence."""

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
        # What comes into each layer and into its feed-forward; the last is what the layers give.
        self._residual = [self._activations(config.dim) for _ in range(2 * config.layers + 1)]
        self._normed, self._dnormed, self._dx = (self._activations(config.dim) for _ in range(3))
        self._logits = self._activations(config.vocab)
        self._gradients: Mapping[str, Floats] = {}
        self._base: Mapping[str, Floats] | None = None

    def load_fixed(self) -> int:
        """Compile the kernels without weights; how many they are."""
        return self._load([kernel for kernel in self._kernels.values() if not kernel.has_weights])

    def load(self) -> int:
        """Compile the kernels with weights, with the parameters as they are now; how many they are."""
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
        """The mean loss in nats of tokens and targets [seq].

        Leaves in `gradients`, by parameter, the base (0 if None) plus the gradient times `loss_scale`. The
        base is only read.
        """
        self._gradients, self._base = gradients, base
        for name, gradient in gradients.items():
            if gradient.ndim == 1:
                gradient[:] = 0 if base is None else base[name]
        self.clock.phase = "fwd"
        self._forward(tokens)
        loss = self._classify(targets, loss_scale)
        self.clock.phase = "bwd"
        self._classify_backward()
        for layer in reversed(range(self.config.layers)):
            self._feed_forward_backward(layer)
            self._attention_backward(layer)
        with self.clock("cblas_wait"):
            self._queue.wait()
        with self.clock("elem"):
            if self._classifier != "embedding":
                gradients["embedding"][:] = 0 if base is None else base["embedding"]
            native.embed_backward(self._dx, tokens, gradients["embedding"])
        return loss

    def take_spans(self) -> tuple[list[Span], list[Span]]:
        """When the step's components ran, and when the gradients of weights did, since the last call."""
        return self.clock.take(), self._queue.take_spans()

    def _forward(self, tokens: Tokens) -> None:
        with self.clock("elem"):
            native.embed(self._parameters["embedding"], tokens, self._residual[0])
        for layer in range(self.config.layers):
            for branch, kind in enumerate(("attention_forward", "feed_forward_forward")):
                kernel = self._kernel(layer, kind)
                x, y = self._residual[2 * layer + branch : 2 * layer + branch + 2]
                with self.clock("io"):
                    kernel.input("x").write(x)
                with self.clock("ane"):
                    kernel.evaluate()
                with self.clock("elem"):
                    out = kernel.output("out")
                    native.add_channels(out.surface, out.first, x, y)

    def _project_to_vocab(self) -> None:
        with self.clock("rms"):
            native.rms_norm(self._residual[-1], self._parameters["norm"], self.config.norm_eps, self._normed)
        with self.clock("cls"):
            native.product(self._parameters[self._classifier], self._normed, self._logits)

    def _classify(self, targets: Tokens, loss_scale: float) -> float:
        """The loss; leaves the gradient of the logits in their place."""
        self._project_to_vocab()
        with self.clock("elem"):
            return native.cross_entropy(self._logits, targets, loss_scale)

    def _classify_backward(self) -> None:
        """Leaves the gradient of what the layers gave in `_dx`."""
        self._add_gradient(self._classifier, self._logits, self._normed)
        with self.clock("cls"):
            native.product(self._parameters[self._classifier], self._logits, self._dnormed, transpose_a=True)
        self._dx[:] = 0
        self._norm_backward(self._residual[-1], "norm")

    def _feed_forward_backward(self, layer: int) -> None:
        """Adds to `_dx`, the gradient of the layer's result, what comes through its feed-forward."""
        forward, backward = (self._kernel(layer, f"feed_forward_{way}") for way in ("forward", "backward"))
        with self.clock("io"):
            backward.input("dout").write(self._dx)
            forward.output("h1", "h3").copy_to(backward.input("h1", "h3"))
        with self.clock("ane"):
            backward.evaluate()
        with self.clock("io"):
            backward.output("dnormed").read(self._dnormed)
        self._add_gradient(f"layers.{layer}.w2", backward.input("dout"), forward.output("gated"))
        self._add_gradient(f"layers.{layer}.w1", backward.output("dh1"), forward.output("normed"))
        self._add_gradient(f"layers.{layer}.w3", backward.output("dh3"), forward.output("normed"))
        self._norm_backward(self._residual[2 * layer + 1], f"layers.{layer}.rms2")

    def _attention_backward(self, layer: int) -> None:
        """Adds to `_dx` what comes through the layer's attention."""
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
        with self.clock("ane"):
            projections.evaluate()
        with self.clock("io"):
            projections.output("dnormed").read(self._dnormed)
        normed = forward.output("normed")
        self._add_gradient(f"layers.{layer}.wo", scores.input("dout"), forward.output("context"))
        self._add_gradient(f"layers.{layer}.wq", queries.output("dq"), normed)
        self._add_gradient(f"layers.{layer}.wk", queries.output("dk"), normed)
        self._add_gradient(f"layers.{layer}.wv", scores.output("dv"), normed)
        self._norm_backward(self._residual[2 * layer], f"layers.{layer}.rms1")

    def _add_gradient(self, name: str, dy: Channels | Floats, x: Channels | Floats) -> None:
        base = None if self._base is None else self._base[name]
        self._queue.add(dy, x, self._gradients[name], name, base)

    def _norm_backward(self, x: Floats, name: str) -> None:
        """Adds the gradient of a norm of x, from `_dnormed`, to `_dx` and to its weight's."""
        with self.clock("rms"):
            native.rms_norm_backward(
                self._dnormed,
                x,
                self._parameters[name],
                self.config.norm_eps,
                self._dx,
                self._gradients[name],
            )

    def _load(self, kernels: list[LoadedKernel]) -> int:
        for kernel in kernels:
            kernel.load(self._parameters)
        return len(kernels)

    def _kernel(self, layer: int, kind: str) -> LoadedKernel:
        return self._kernels[f"layers.{layer}.{kind}"]

    def _activations(self, channels: int) -> Floats:
        return np.zeros((channels, self.config.seq), np.float32)
