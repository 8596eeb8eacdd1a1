"""The CPU's share of a training step, which all pipelines have in common.

Between kernels, activations are fp32 [C, S] on the host; kernels read and write fp16 channels of surfaces.
The surfaces keep what the gradients of weights need until the step ends, so it is never copied.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _ane_native as native
from ..kernels import TransformerConfig
from ..kernels.config import layer_shapes
from .accounting import Clock, Span
from .kernels import Channels, Flags, Floats, Operand
from .lora import AdaptedWeights

Tokens = NDArray[np.integer[Any]]


class TrainingStep(ABC):
    """Computes forward, loss and backward of one sequence; the final norm and the classifier on the CPU.

    The parameters are arrays, or weights with adapters, which the kernels get merged.
    """

    loss_component = "elem"  # that the loss counts as

    def __init__(self, config: TransformerConfig, parameters: Mapping[str, Floats]) -> None:
        self.config = config
        self.clock = Clock()
        self._parameters = parameters
        self._adapters = parameters.adapters if isinstance(parameters, AdaptedWeights) else {}
        self._classifier = "classifier" if "classifier" in parameters else "embedding"
        self._queue = native.GradientQueue()
        # The input of each layer and of its feed-forward; the last is the output of the layers.
        self._residual = [self._activations(config.dim) for _ in range(2 * config.layers + 1)]
        self._normed, self._dnormed, self._dx = (self._activations(config.dim) for _ in range(3))
        self._logits = self._activations(config.vocab)  # their gradient, once the loss is known
        self._gradients: Mapping[str, Floats] = {}
        self._base: Mapping[str, Floats] | None = None
        self._flags: Mapping[str, Flags] = {}
        self._norms = [name for name, shape in layer_shapes(config).items() if len(shape) == 1]

    @abstractmethod
    def load_fixed(self) -> int:
        """Compile the kernels without weights of the model and return their number."""

    @abstractmethod
    def load(self) -> int:
        """Give the kernels the current parameters, and return how many were compiled for that."""

    @abstractmethod
    def _forward_layer(self, layer: int) -> None:
        """Compute the residual stream after each half of a layer."""

    @abstractmethod
    def _feed_forward_backward(self, layer: int) -> None:
        """Add the gradient through the feed-forward to `_dx`, which is that of its output."""

    @abstractmethod
    def _attention_backward(self, layer: int) -> None:
        """Add the gradient through attention to `_dx`, which is that of its output."""

    def step(
        self,
        tokens: Tokens,
        targets: Tokens,
        gradients: Mapping[str, Floats],
        *,
        base: Mapping[str, Floats] | None = None,
        loss_scale: float = 1.0,
        flags: Mapping[str, Flags] | None = None,
    ) -> float:
        """Train tokens and targets [seq], and return the mean loss in nats.

        Sets `gradients`, by parameter, to `base` (0 if None) plus the gradient times `loss_scale`. Parameters
        without an array there are frozen: their gradients are not computed. The `flags` of a matrix or a
        norm are raised when its gradients are finished.
        """
        self._gradients, self._base, self._flags = gradients, base, flags or {}
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

    def evaluate(self, tokens: Tokens, targets: Tokens) -> float:
        """Return the mean loss of tokens and targets [seq], in nats, by the forward pass alone."""
        self._forward(tokens)
        return self._loss(targets, loss_scale=1.0)

    def ranges(self) -> tuple[float, ...]:
        """Return the least and greatest value of the layers' output, and of the gradient of their input."""
        return tuple(float(limit(x)) for x in (self._residual[-1], self._dx) for limit in (np.min, np.max))

    def take_spans(self) -> tuple[list[Span], list[Span]]:
        """Return when the components and the products of the weights' gradients ran since the last call."""
        return self.clock.take(), self._queue.take_spans()

    def _forward(self, tokens: Tokens) -> None:
        """Compute the residual stream [dim, S] after each half of each layer from tokens [S]."""
        with self.clock("elem"):
            native.embed(self._parameters["embedding"], tokens, self._residual[0])
        for layer in range(self.config.layers):
            self._forward_layer(layer)

    def _loss(self, targets: Tokens, loss_scale: float) -> float:
        """Return the loss of the last residual; leave the gradient of the logits [vocab, S] in `_logits`."""
        with self.clock("rms"):
            native.rms_norm(self._residual[-1], self._parameters["norm"], self.config.norm_eps, self._normed)
        with self.clock("cls"):
            native.product(self._parameters[self._classifier], self._normed, self._logits)
        with self.clock(self.loss_component):
            return native.cross_entropy(self._logits, targets, loss_scale)

    def _backward(self) -> None:
        """Turn the gradient of the logits into that of the embedded tokens [dim, S], in `_dx`."""
        self._add_gradient(self._classifier, self._logits, self._normed)
        with self.clock("cls"):
            native.product(self._parameters[self._classifier], self._logits, self._dnormed, transpose_a=True)
        self._dx[:] = 0
        self._norm_backward(self._residual[-1], "norm")
        self._raise_flags("norm")
        for layer in reversed(range(self.config.layers)):
            self._feed_forward_backward(layer)
            self._attention_backward(layer)
            self._raise_flags(*(f"layers.{layer}.{name}" for name in self._norms))

    def _embedding_backward(self, tokens: Tokens) -> None:
        gradient = self._gradients.get("embedding")
        if gradient is None:
            return
        with self.clock("elem"):
            if self._classifier != "embedding":
                gradient[:] = 0 if self._base is None else self._base["embedding"]
            native.embed_backward(self._dx, tokens, gradient)
        self._raise_flags("embedding")

    def _add_gradient(self, name: str, dy: Operand, x: Operand) -> None:
        """Queue the gradient of a matrix [O, I], dy [O, S] * transposed x [I, S], or those of its adapter."""
        # The embedding's gradient as a classifier is only a part of it.
        flags = None if name == "embedding" else self._flags.get(name)
        if name in self._gradients:
            base = None if self._base is None else self._base[name]
            self._queue.add(dy, x, self._gradients[name], name, base, flags)
        elif name in self._adapters:
            self._adapters[name].queue_gradients(self._queue, dy, x, self._gradients, self._base, flags)

    def _raise_flags(self, *names: str) -> None:
        """Say that gradients which this thread computes are finished."""
        for name in names:
            if name in self._flags:
                native.raise_flags(self._flags[name])

    def _norm_backward(self, x: Floats, name: str) -> None:
        """Add the gradient of a norm of x [dim, S], from `_dnormed`, to `_dx` and to its weight's."""
        with self.clock("rms"):
            native.rms_norm_backward(
                self._dnormed,
                x,
                self._parameters[name],
                self.config.norm_eps,
                self._dx,
                self._gradients.get(name),
            )

    def _head_norm_backward(self, by_position: Channels, name: str) -> None:
        """Add up the gradient of a head norm's weight, which a kernel computed for each position."""
        if name not in self._gradients:
            return
        with self.clock("io"):
            values = self._activations(self.config.head_dim)
            by_position.read(values)
        with self.clock("rms"), np.errstate(over="ignore", invalid="ignore"):  # the update skips them
            self._gradients[name] += values.sum(axis=1)

    def _activations(self, channels: int) -> Floats:
        return np.zeros((channels, self.config.seq), np.float32)
