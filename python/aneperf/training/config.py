"""The options of a training run that determine its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from .._ane_native import ArgumentError
from ..kernels import TransformerConfig
from ..kernels.schedule import Pipeline
from .models import PRESETS


def option(default: Any, section: str, help: str, *, metavar: str = "", flags: tuple[str, ...] = ()) -> Any:
    """Return a dataclass field that carries its help text.

    In the command's help it stands under `section`, with `metavar` for its value; `flags` are its names,
    by default the field's.
    """
    metadata = {"section": section, "help": help, "metavar": metavar, "flags": flags}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Everything that determines a run's numbers, except the model, the data and the device.

    A step is one sequence, forward and backward; `accumulation` steps make a batch and an update. The
    defaults are those of the published runs: Adam without decay at a constant rate, batches of 10. Only
    `loss_scale` differs: at the published 1, gradients reach the fp16 subnormals.
    """

    pipeline: Pipeline = option(
        "static",
        "Model",
        "Kernels of a step. static: 72 for 12 layers; static-ane: 99, with the norms and the classifier.",
    )
    as_published: bool = option(
        False, "Model", "Use the published graphs, which lack rotary positions, to compare their timing."
    )
    seed: int = option(0, "Model", "Seed of random weights and of the order of the data.", metavar="N")
    steps: int = option(20, "Run", "Steps to train: one sequence each, forward and backward.", metavar="N")
    accumulation: int = option(10, "Run", "Steps in a batch; each batch ends with an update.", metavar="N")
    loss_scale: float = option(
        256.0, "Run", "Factor on the loss that keeps fp16 gradients above the subnormals.", metavar="X"
    )
    learning_rate: float = option(
        3e-4,
        "Optimizer",
        "Learning rate after the warm-up.",
        metavar="RATE",
        flags=("--learning-rate", "--lr"),
    )
    beta1: float = option(0.9, "Optimizer", "Adam's decay of the mean of the gradient.", metavar="X")
    beta2: float = option(0.999, "Optimizer", "Adam's decay of the mean of its square.", metavar="X")
    epsilon: float = option(1e-8, "Optimizer", "Adam's term against division by zero.", metavar="X")
    weight_decay: float = option(
        0.0, "Optimizer", "Decoupled decay of matrices; norms do not decay.", metavar="X"
    )
    warmup: int = option(
        0, "Optimizer", "Updates during which the learning rate rises linearly.", metavar="N"
    )
    decay: Literal["constant", "cosine"] = option(
        "constant", "Optimizer", "Course of the learning rate after the warm-up."
    )
    final_rate: float = option(
        0.1,
        "Optimizer",
        "Share of the learning rate at the end of a cosine decay.",
        metavar="X",
    )
    clip: float | None = option(None, "Optimizer", "Largest global norm of the gradient.", metavar="NORM")

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
        """Count the updates of the whole run; the last batch may be shorter."""
        return math.ceil(self.steps / self.accumulation)

    def rate(self, update: int) -> float:
        """Return the learning rate of an update, counted from 0."""
        if update < self.warmup:
            return self.learning_rate * (update + 1) / self.warmup
        if self.decay == "constant":
            return self.learning_rate
        progress = (update - self.warmup) / max(1, self.updates - self.warmup)
        share = self.final_rate + (1 - self.final_rate) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
        return self.learning_rate * share

    def _check(self, name: str, accept: Callable[[float], bool], wanted: str) -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not accept(value):
            raise ArgumentError(f"training: {name} {value!r} is not {wanted}")


@dataclass(frozen=True)
class TrainingConfig(Hyperparameters):
    """A model's shape and the hyperparameters of its run, as checkpoints and results record them."""

    model: TransformerConfig


def model_config(model: str | TransformerConfig) -> TransformerConfig:
    """Return the shape itself, or the preset with that name."""
    if isinstance(model, TransformerConfig):
        return model
    if model not in PRESETS:
        raise ArgumentError(
            f"no model is called {model!r}: choose {', '.join(PRESETS)}, or give a TransformerConfig"
        )
    return PRESETS[model]


def differences(asked: TrainingConfig, found: TrainingConfig) -> list[str]:
    """List the fields in which `asked` differs from the checkpoint's config, as in "clip is 1.0, was None".

    `steps` may differ unless the learning rate depends on it.
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
    """Return the name of the preset with this shape, or a name made from the sizes."""
    for name, preset in PRESETS.items():
        if model == preset:
            return name
    shared = f"-{model.kv_heads}" if model.kv_heads != model.heads else ""
    return (
        f"dim{model.dim}-hidden{model.hidden}-layers{model.layers}-heads{model.heads}{shared}"
        f"x{model.head_dim}-vocab{model.vocab}-seq{model.seq}"
    )
