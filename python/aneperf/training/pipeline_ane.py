"""The static pipeline with norms, the classifier and its softmax on the device too."""

from __future__ import annotations

from .. import _ane_native as native
from .kernels import Floats
from .pipeline import StaticPipeline, Tokens

_NORMS = {"rms1": "norm1_backward", "rms2": "norm2_backward"}


class StaticAnePipeline(StaticPipeline):
    """What of a step the device can do it does; gradients of weights and the classifier's backward stay here.

    A conv of the vocabulary's many input channels is refused by the engine's compiler.
    """

    schedule = "static-ane"

    def _project_to_vocab(self) -> None:
        norm, classifier = self._kernels["norm_forward"], self._kernels["classifier_forward"]
        with self.clock("io"):
            norm.input("x").write(self._residual[-1])
        with self.clock("ane"):
            norm.evaluate()
        with self.clock("io"):
            norm.output("normed").copy_to(classifier.input("normed"))
            norm.output("normed").read(self._normed)
        with self.clock("ane"):
            classifier.evaluate()

    def _classify(self, targets: Tokens, loss_scale: float) -> float:
        self._project_to_vocab()
        softmax = self._kernels["classifier_softmax"]
        logits = self._kernels["classifier_forward"].output("logits")
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
        if kind not in _NORMS:
            super()._norm_backward(x, name)
            return
        kernel = self._kernels[f"{layer}.{_NORMS[kind]}"]
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
