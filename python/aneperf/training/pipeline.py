"""The static pipelines, whose kernels have their weights baked in, and the choice of any pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import groupby

from .. import _ane_native as native
from ..kernels import TransformerConfig, schedule
from ..kernels.schedule import Pipeline
from .arrays import Arrays
from .dynamic import DynamicPipeline
from .dynamic_published import PublishedDynamicPipeline
from .kernels import Floats, LoadedKernel
from .step import Tokens, TrainingStep

_NORMS_BACKWARD = {"rms1": "norm1_backward", "rms2": "norm2_backward"}


class StaticPipeline(TrainingStep):
    """Computes the layers on the device; the final norm and the classifier on the CPU."""

    schedule: Pipeline = "static"

    def __init__(
        self,
        device: native.Device,
        config: TransformerConfig,
        parameters: Mapping[str, Floats],
        *,
        as_published: bool = False,
    ) -> None:
        super().__init__(config, parameters)
        self._kernels = {
            scheduled.name: LoadedKernel(device, config, scheduled, as_published)
            for scheduled in schedule(config, self.schedule)
        }

    def load_fixed(self) -> int:
        """Compile the kernels without weights and return their number."""
        return self._load(with_weights=False)

    def load(self) -> int:
        """Compile the kernels with weights, with the current parameters, and return their number."""
        return self._load(with_weights=True)

    def _forward_layer(self, layer: int) -> None:
        """Compute the residual stream after each half of a layer."""
        for half, kind in enumerate(("attention_forward", "feed_forward_forward")):
            kernel = self._kernel(layer, kind)
            x, y = self._residual[2 * layer + half : 2 * layer + half + 2]
            with self.clock("io"):
                kernel.input("x").write(x)
            with self.clock("ane"):
                kernel.evaluate()
            with self.clock("elem"):
                kernel.output("out").add(x, y)

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

    def _load(self, *, with_weights: bool) -> int:
        names = [name for name, kernel in self._kernels.items() if kernel.has_weights == with_weights]
        for _, of_layer in groupby(names, lambda name: name.rpartition(".")[0]):
            # Several kernels have the same matrix, whose adapters are merged once.
            weights = Arrays(self._parameters, cache(self._parameters.__getitem__))
            for name in of_layer:
                self._kernels[name].load(weights)
        return len(names)

    def _kernel(self, layer: int, kind: str) -> LoadedKernel:
        return self._kernels[f"layers.{layer}.{kind}"]


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
            kernel.output("dx").add(self._dx, self._dx)
        if name not in self._gradients:
            return
        with self.clock("rms"):
            weight, dweight = self._parameters[name], self._gradients[name]
            native.rms_norm_backward(self._dnormed, x, weight, self.config.norm_eps, None, dweight)


def open_pipeline(
    pipeline: Pipeline,
    device: native.Device,
    config: TransformerConfig,
    parameters: Mapping[str, Floats],
    *,
    as_published: bool = False,
) -> TrainingStep:
    """Return the pipeline of that name on a device. Raises ArgumentError if the model does not fit."""
    if pipeline == "dynamic":
        if as_published:
            return PublishedDynamicPipeline(device, config, parameters)
        return DynamicPipeline(device, config, parameters)
    static = StaticAnePipeline if pipeline == "static-ane" else StaticPipeline
    return static(device, config, parameters, as_published=as_published)
