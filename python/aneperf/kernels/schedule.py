"""The published schedules of kernels, for a model of any shape.

"static" has five kernels with weights and one without for each layer: 72 for 12 layers. "static-ane" adds the
backward of both norms of each layer, the last norm, the classifier and its softmax: 99 for 12 layers.
"dynamic" has ten kernels that all layers share, with weights as inputs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..checks import choice
from .attention import (
    attention_backward_queries,
    attention_backward_scores,
    attention_forward,
    projections_backward,
)
from .classifier import classifier_forward, classifier_softmax
from .config import TransformerConfig, layer_shapes, parameter_shapes
from .feed_forward import feed_forward_backward, feed_forward_forward
from .norm import norm_backward, norm_forward
from .shared import SHARED_KERNELS
from .transformer import Kernel

Pipeline = Literal["static", "static-ane", "dynamic"]
Family = Callable[..., Kernel]

_LAYER: tuple[Family, ...] = (
    attention_forward,
    feed_forward_forward,
    feed_forward_backward,
    attention_backward_scores,
    attention_backward_queries,
    projections_backward,
)
# Names, and the parameter for each weight.
_LAYER_EXTRAS: dict[str, tuple[Family, dict[str, str]]] = {
    "norm1_backward": (norm_backward, {"weight": "rms1"}),
    "norm2_backward": (norm_backward, {"weight": "rms2"}),
}
_MODEL_EXTRAS: dict[str, tuple[Family, dict[str, str]]] = {
    "norm_forward": (norm_forward, {"weight": "norm"}),
    "classifier_forward": (classifier_forward, {"embedding": "classifier"}),
    "classifier_softmax": (classifier_softmax, {}),
}


@dataclass(frozen=True)
class ScheduledKernel:
    """A kernel of a schedule, and the model's parameter for each of its weights."""

    name: str  # "layers.3.attention_forward", or "classifier_forward"
    family: Family
    parameters: Mapping[str, str]  # by weight: "layers.3.wq", or "layers.3.wq.T" for its transpose

    def build(
        self, config: TransformerConfig, parameters: Mapping[str, NDArray[Any]], as_published: bool = False
    ) -> Kernel:
        """Build the kernel, its weights rounded to fp16."""
        return self.family(config, **self.weights(parameters), as_published=as_published)

    def template(self, config: TransformerConfig, as_published: bool = False) -> Kernel:
        """Return the kernel without weights, to bake; all layers have the same."""
        stored = parameter_shapes(config, separate_classifier=True)
        shapes = {
            weight: stored[name.removesuffix(".T")][:: -1 if name.endswith(".T") else 1]
            for weight, name in self.parameters.items()
        }
        return _template(self.family, config, tuple(shapes.items()), as_published)

    def weights(self, parameters: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float16]]:
        """Return the kernel's weights, fp16, from the model's parameters by name.

        The embedding is the classifier, unless there is a parameter of that name.
        """
        return {weight: _parameter(parameters, name) for weight, name in self.parameters.items()}


def schedule(config: TransformerConfig, pipeline: Pipeline = "static") -> list[ScheduledKernel]:
    """Return every kernel of a pipeline, layer by layer; of "dynamic", those that the layers share."""
    choice("pipeline", pipeline, get_args(Pipeline))
    if pipeline == "dynamic":
        return [ScheduledKernel(family.name, family.build, {}) for family in SHARED_KERNELS]
    extras = pipeline == "static-ane"
    families = {family.__name__: (family, _namesakes(family, layer_shapes(config))) for family in _LAYER}
    families |= _LAYER_EXTRAS if extras else {}
    kernels = [
        ScheduledKernel(
            f"layers.{layer}.{name}", family, {w: f"layers.{layer}.{p}" for w, p in parameters.items()}
        )
        for layer in range(config.layers)
        for name, (family, parameters) in families.items()
    ]
    if extras:
        kernels += [ScheduledKernel(name, *rest) for name, rest in _MODEL_EXTRAS.items()]
    return kernels


def _namesakes(family: Family, layer: Container[str]) -> dict[str, str]:
    """Return the parameter of a layer for each weight of a family that the layer has.

    It has the same name; "wqt" is the transpose of "wq".
    """
    names = inspect.signature(family).parameters
    namesakes = {name: f"{name[:-1]}.T" if name.endswith("t") else name for name in names}
    return {name: namesake for name, namesake in namesakes.items() if namesake.removesuffix(".T") in layer}


@lru_cache(maxsize=32)
def _template(
    family: Family,
    config: TransformerConfig,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    as_published: bool,
) -> Kernel:
    weights = {name: np.broadcast_to(np.float16(1), shape) for name, shape in shapes}
    return family(config, **weights, as_published=as_published).without_weights()


def _parameter(parameters: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float16]:
    return np.ascontiguousarray(_array(parameters, name), np.float16)


def _array(parameters: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    stem = name.removesuffix(".T")
    if stem == "classifier" and stem not in parameters:
        stem = name = "embedding"
    return parameters[stem] if stem == name else parameters[stem].T
