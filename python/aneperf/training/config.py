"""The options of a training run that determine its numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from .. import bounds
from ..checks import choice, count
from ..errors import ArgumentError
from ..kernels import TransformerConfig
from ..kernels.schedule import Pipeline
from .lora import TARGETS, Lora, named_targets


def option(default: Any, section: str, help: str, *, metavar: str = "", flags: tuple[str, ...] = ()) -> Any:
    """Return a dataclass field that carries its help text.

    The command line shows it under `section`, with `metavar` for its value. `flags` are its names there, by
    default the field's.
    """
    metadata = {"section": section, "help": help, "metavar": metavar, "flags": flags}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Everything that determines a run's numbers, except the model, the data and the device.

    A step is one sequence, forward and backward; `accumulation` steps make a batch and an update. The
    defaults are those of the published runs: Adam without decay at a constant rate, batches of 10. Only
    `loss_scale` differs: at the published 1 the engine drops most products of gradients.
    """

    pipeline: Pipeline = option(
        "static",
        "Model",
        "Kernels of a step. static: 72 for 12 layers; static-ane: 99, with the norms and the classifier; "
        "dynamic: 10 for any number of layers, compiled once, with weights as inputs.",
    )
    as_published: bool = option(
        False,
        "Model",
        "Use the published graphs, whose gradients are not the model's, to compare their timing.",
    )
    compact_vocabulary: bool = option(
        False,
        "Model",
        "Train the tokens that occur in the data only. The loss is over these, and lower than over all.",
    )
    seed: int = option(0, "Model", "Seed of random weights and of the order of the data.", metavar="N")
    steps: int = option(20, "Run", "Steps to train: one sequence each, forward and backward.", metavar="N")
    accumulation: int = option(
        10, "Run", "Steps in a batch, on each rank; each batch ends with an update.", metavar="N"
    )
    loss_scale: float = option(
        16384.0,
        "Run",
        "Factor on the loss that keeps products of fp16 gradients from being dropped.",
        metavar="X",
    )
    learning_rate: float = option(
        3e-4,
        "Optimizer",
        "Learning rate after the warm-up.",
        metavar="RATE",
        flags=("--learning-rate", "--lr"),
    )
    beta1: float = option(0.9, "Optimizer", "Adam's decay of the mean gradient.", metavar="X")
    beta2: float = option(
        0.999, "Optimizer", "Adam's decay of the mean of the squared gradient.", metavar="X"
    )
    epsilon: float = option(1e-8, "Optimizer", "Adam's epsilon, against division by zero.", metavar="X")
    weight_decay: float = option(
        0.0, "Optimizer", "Decoupled weight decay of matrices; norms are exempt.", metavar="X"
    )
    warmup: int = option(
        0, "Optimizer", "Updates during which the learning rate rises linearly.", metavar="N"
    )
    decay: Literal["constant", "cosine"] = option(
        "constant", "Optimizer", "Schedule of the learning rate after the warm-up."
    )
    final_rate: float = option(
        0.1,
        "Optimizer",
        "Share of the learning rate that remains at the end of a cosine decay.",
        metavar="X",
    )
    clip: float | None = option(
        None, "Optimizer", "Clip the gradient to this global norm; not clipped by default.", metavar="NORM"
    )
    lora_rank: int | None = option(
        None, "LoRA", "Train adapters of this rank; all weights stay as they are.", metavar="R"
    )
    lora_alpha: float | None = option(
        None, "LoRA", "Adapters are multiplied by this over the rank; by default the rank.", metavar="A"
    )
    lora_targets: str | None = option(
        None, "LoRA", f"Matrices that get adapters; by default all: {','.join(TARGETS)}.", metavar="NAMES"
    )

    def __post_init__(self) -> None:
        choice("pipeline", self.pipeline, get_args(Pipeline))
        choice("decay", self.decay, ("constant", "cosine"))
        for name, least in (("steps", 1), ("accumulation", 1), ("warmup", 0), ("seed", 0)):
            count(name, getattr(self, name), least, bounds.SEED if name == "seed" else bounds.STEPS)
        factors = ("learning_rate", "epsilon", *(("clip",) if self.clip is not None else ()))
        limits = {"loss_scale": bounds.LOSS_SCALE, **dict.fromkeys(factors, bounds.FACTOR)}
        for name, limit in limits.items():
            object.__setattr__(self, name, bounds.within(name, getattr(self, name), limit))
        for name in ("weight_decay", "final_rate"):
            bounds.within(name, getattr(self, name), (0.0, bounds.FACTOR[1]))
        for name in ("beta1", "beta2"):
            if bounds.within(name, getattr(self, name), (0.0, 1.0)) == 1:
                raise ArgumentError(f"{name} must be below 1")
        self._complete_lora()

    def _complete_lora(self) -> None:
        rank = self.lora_rank
        if rank is None:
            return
        count("lora_rank", rank, most=bounds.MODEL["dim"])
        alpha = rank if self.lora_alpha is None else self.lora_alpha
        object.__setattr__(self, "lora_alpha", bounds.within("lora_alpha", alpha, bounds.FACTOR))
        object.__setattr__(self, "lora_targets", named_targets(self.lora_targets))
        if self.as_published:
            raise ArgumentError("as_published goes without lora_rank: the published runs have no adapters")

    @property
    def lora(self) -> Lora | None:
        """Return the adapters to train, if the weights are frozen."""
        if self.lora_rank is None or self.lora_alpha is None or self.lora_targets is None:
            return None
        return Lora(self.lora_rank, self.lora_alpha, tuple(self.lora_targets.split(",")))

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


@dataclass(frozen=True)
class TrainingConfig(Hyperparameters):
    """A model's shape and the hyperparameters of its run, as checkpoints and results record them."""

    model: TransformerConfig

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora is not None:
            self.lora.check(self.model)
        for name in ("lora_alpha", "lora_targets"):
            if self.lora is None and getattr(self, name) is not None:
                raise ArgumentError(f"{name} needs lora_rank, the rank of the adapters")


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
