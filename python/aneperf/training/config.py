"""What a training run is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from .._ane_native import ArgumentError
from ..kernels import TransformerConfig
from ..kernels.schedule import Pipeline
from .models import PRESETS


@dataclass(frozen=True)
class TrainingConfig:
    """A run. A step is one sequence, forward and backward; `accumulation` steps make a batch and an update.

    The defaults are the published runs': Adam without decay at a constant rate, batches of 10. Only the loss
    is scaled, by 256, so that gradients keep clear of the fp16 subnormals; 1 is as published.
    """

    model: TransformerConfig
    pipeline: Pipeline = "static"
    as_published: bool = False  # the published graphs, for like-for-like timing: positions are not turned
    steps: int = 20
    accumulation: int = 10
    learning_rate: float = 3e-4
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0  # of matrices; norms do not decay
    warmup: int = 0  # updates over which the rate rises
    decay: Literal["constant", "cosine"] = "constant"
    final_rate: float = 0.1  # that cosine ends at, as a share of learning_rate
    clip: float | None = None  # largest global norm of the gradient
    loss_scale: float = 256.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("accumulation", 1), ("warmup", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ArgumentError(f"training: {name} {value!r} is not an integer of at least {least}")
        for name in ("learning_rate", "epsilon", "loss_scale", *(("clip",) if self.clip is not None else ())):
            self._check(name, lambda value: value > 0, "a positive number")
        for name in ("beta1", "beta2"):
            self._check(name, lambda value: 0 <= value < 1, "a number in [0, 1)")
        for name in ("weight_decay", "final_rate"):
            self._check(name, lambda value: value >= 0, "a number of at least 0")
        if self.pipeline not in ("static", "static-ane"):
            raise ArgumentError(f"training: pipeline {self.pipeline!r} is neither 'static' nor 'static-ane'")
        if self.decay not in ("constant", "cosine"):
            raise ArgumentError(f"training: decay {self.decay!r} is neither 'constant' nor 'cosine'")

    @property
    def updates(self) -> int:
        """Of the weights, in the whole run; the last batch may be shorter."""
        return math.ceil(self.steps / self.accumulation)

    def rate(self, update: int) -> float:
        """The learning rate of an update, from 0 on."""
        if update < self.warmup:
            return self.learning_rate * (update + 1) / self.warmup
        if self.decay == "constant":
            return self.learning_rate
        progress = (update - self.warmup) / max(1, self.updates - self.warmup)
        share = self.final_rate + (1 - self.final_rate) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
        return self.learning_rate * share

    def _check(self, name: str, accept: Any, wanted: str) -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not accept(value):
            raise ArgumentError(f"training: {name} {value!r} is not {wanted}")


def model_config(model: str | TransformerConfig) -> TransformerConfig:
    """The model itself, or the preset of that name."""
    if isinstance(model, TransformerConfig):
        return model
    if model not in PRESETS:
        raise ArgumentError(
            f"no model is called {model!r}: choose {', '.join(PRESETS)}, or give a TransformerConfig"
        )
    return PRESETS[model]


def differences(asked: TrainingConfig, found: TrainingConfig) -> list[str]:
    """What of `asked` makes another run than `found` was, each as "clip is 1.0, was None".

    A run may be longer than planned, unless its rate depends on the plan.
    """
    ignored = {"model"} | ({"steps"} if asked.decay == "constant" else set())
    return [*_differences(asked.model, found.model, set(), "model."), *_differences(asked, found, ignored)]


def _differences(asked: Any, found: Any, ignored: set[str], prefix: str = "") -> list[str]:
    pairs = [(f.name, getattr(asked, f.name), getattr(found, f.name)) for f in fields(asked)]
    return [
        f"{prefix}{name} is {new!r}, was {old!r}"
        for name, new, old in pairs
        if name not in ignored and new != old
    ]


def model_name(model: TransformerConfig) -> str:
    """The name of the preset that it is, or its shape."""
    for name, preset in PRESETS.items():
        if model == preset:
            return name
    shared = f"-{model.kv_heads}" if model.kv_heads != model.heads else ""
    return (
        f"dim{model.dim}-hidden{model.hidden}-layers{model.layers}-heads{model.heads}{shared}"
        f"x{model.head_dim}-vocab{model.vocab}-seq{model.seq}"
    )
