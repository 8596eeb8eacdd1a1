"""Low-rank adapters (LoRA): a matrix W becomes W + alpha / rank * B A, and only A and B are trained.

Kernels get that sum. The gradients of A and B come from those of the sum's factors, never from a whole dW.
Sources: Hu et al. 2021; names and initial values as in github.com/huggingface/peft.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .. import _ane_native as native
from ..checks import shown
from ..errors import ArgumentError
from ..kernels import TransformerConfig
from ..kernels.config import layer_shapes
from .arrays import Arrays
from .kernels import Flags, Floats, Operand
from .models import Parameters, uniform

# A layer's matrices by their names in options.
TARGETS: Mapping[str, str] = {
    "q": "wq",
    "k": "wk",
    "v": "wv",
    "o": "wo",
    "gate": "w1",
    "up": "w3",
    "down": "w2",
}
_A, _B = ".lora_A", ".lora_B"


def matrix_of(name: str) -> str:
    """Return the matrix that a parameter adapts, or the parameter itself if it is no adapter's."""
    return name.removesuffix(_A).removesuffix(_B)


def named_targets(text: str | None) -> str:
    """Return names of matrices in their usual order, as in "q,v"; all by default. Raises ArgumentError."""
    given = ",".join(TARGETS) if text is None else text
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else [""]
    if unknown := [name for name in names if name not in TARGETS]:
        raise ArgumentError(
            f"lora_targets must be names from {','.join(TARGETS)} with commas between them, not "
            f"{shown(unknown[0] or text)}"
        )
    return ",".join(name for name in TARGETS if name in names)


@dataclass(frozen=True)
class Lora:
    """The adapters of a model: A [rank, I] and B [O, rank] for each target [O, I] of each layer."""

    rank: int
    alpha: float
    targets: tuple[str, ...]  # of TARGETS

    @property
    def scale(self) -> float:
        """Return the factor of B A."""
        return self.alpha / self.rank

    def __str__(self) -> str:
        return f"LoRA of rank {self.rank}, alpha {self.alpha:g}, on {','.join(self.targets)}"

    def trained(self, model: TransformerConfig) -> str:
        """Say what is trained of a model."""
        values = sum(map(math.prod, self.shapes(model).values()))
        return f"{self}: {values:,} values are trained"

    def check(self, model: TransformerConfig) -> None:
        """Raise ArgumentError if the rank is above that of a matrix."""
        shapes = layer_shapes(model)
        for target in self.targets:
            if self.rank > min(shape := shapes[TARGETS[target]]):
                raise ArgumentError(
                    f"lora_rank must be at most {min(shape)}, the rank of {target} {list(shape)}, "
                    f"not {self.rank}"
                )

    def shapes(self, model: TransformerConfig) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all adapters by name, as in "layers.0.wq.lora_A"."""
        layer = layer_shapes(model)
        shapes: dict[str, tuple[int, ...]] = {}
        for index in range(model.layers):
            for kind in (TARGETS[target] for target in self.targets):
                name, (outputs, inputs) = f"layers.{index}.{kind}", layer[kind]
                shapes |= {name + _A: (self.rank, inputs), name + _B: (outputs, self.rank)}
        return shapes

    def initial(self, model: TransformerConfig, seed: int) -> Parameters:
        """Draw A between -1 / sqrt(inputs) and that, and set B to 0: the model is the frozen one."""
        return {
            name: uniform((seed, index, 1), shape, math.sqrt(1 / shape[1]))
            if name.endswith(_A)
            else np.zeros(shape, np.float32)
            for index, (name, shape) in enumerate(self.shapes(model).items())
        }

    def gradient_flops(self, model: TransformerConfig) -> int:
        """Count the operations of a step's gradients: B's and A's, and the products A x and B^T dy."""
        layer = layer_shapes(model)
        sides = sum(sum(layer[TARGETS[target]]) for target in self.targets)
        return 4 * self.rank * sides * model.seq * model.layers


class Adapter(NamedTuple):
    """The adapter of one matrix [O, I]: A [rank, I] and B [O, rank]."""

    name: str
    a: Floats
    b: Floats
    scale: float

    def merged(self, weight: Floats) -> Floats:
        """Return weight + scale * B A."""
        out = np.empty_like(weight)
        native.product(self.b * np.float32(self.scale), self.a, out, base=weight)
        return out

    def queue_gradients(
        self,
        queue: native.GradientQueue,
        dy: Operand,
        x: Operand,
        gradients: Mapping[str, Floats],
        base: Mapping[str, Floats] | None,
        flags: Flags | None,
    ) -> None:
        """Queue the gradients of A and B, from dy [O, S] and x [I, S] of the matrix's product.

        Both are computed, or, where `gradients` has neither, none.
        """
        a, b = self.name + _A, self.name + _B
        if a not in gradients:
            return
        queue.add_adapter(
            dy,
            x,
            self.a,
            self.b,
            gradients[a],
            gradients[b],
            scale=self.scale,
            name=self.name,
            base_a=None if base is None else base[a],
            base_b=None if base is None else base[b],
            flags=flags,
        )


class AdaptedWeights(Arrays):
    """A model's parameters by name: frozen, with adapters added when a matrix is asked for."""

    def __init__(self, lora: Lora, frozen: Mapping[str, Floats], values: Mapping[str, Floats]) -> None:
        super().__init__(frozen, self._merged)
        self._frozen = frozen
        names = [name.removesuffix(_A) for name in values if name.endswith(_A)]
        self.adapters = {
            name: Adapter(name, values[name + _A], values[name + _B], lora.scale) for name in names
        }

    def _merged(self, name: str) -> Floats:
        weight = self._frozen[name]
        return self.adapters[name].merged(weight) if name in self.adapters else weight


def model_weights(lora: Lora | None, parts: Mapping[str, Mapping[str, Floats]]) -> Mapping[str, Floats]:
    """Return a model's parameters from the parts of a state: what is trained, or frozen with adapters."""
    if lora is None:
        return parts["parameters"]
    return AdaptedWeights(lora, parts["frozen"], parts["parameters"])
