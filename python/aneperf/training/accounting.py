"""Where a step's time went, and how much work it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..kernels import TransformerConfig
from .clock import Span
from .messages import Stepped

COMPONENTS = ("ane", "io", "cls", "elem", "rms", "cblas_wait")
_MS = 1e-6


@dataclass(frozen=True)
class StepTimes:
    """Milliseconds of one step. The components of both phases and `other` add up to `wall`.

    `dw` is how long gradients of weights were computed, beside the rest.
    """

    wall: float
    forward: dict[str, float]
    backward: dict[str, float]
    dw: float

    @classmethod
    def of(cls, stepped: Stepped) -> StepTimes:
        """From what a worker tells of a step."""
        return cls(
            (stepped.end - stepped.begin) * _MS,
            {name: _total(stepped.spans, f"{name}_fwd") for name in COMPONENTS},
            {name: _total(stepped.spans, f"{name}_bwd") for name in COMPONENTS},
            sum(end - begin for _, begin, end in stepped.products) * _MS,
        )

    @property
    def other(self) -> float:
        """What no component took: Python between them."""
        return self.wall - sum(self.forward.values()) - sum(self.backward.values())

    def to_dict(self) -> dict[str, Any]:
        """As data, in ms."""
        return {
            "wall": self.wall,
            "forward": self.forward,
            "backward": self.backward,
            "dw": self.dw,
            "other": self.other,
        }


def published_times(steps: Sequence[StepTimes]) -> dict[str, float]:
    """The published figures under their names: means over the batch so far, of the forward pass only.

    What the published training calls elem has the embedding, the residual sums and the loss; its cblas_wait
    is what the forward pass waits, which is next to nothing.
    """
    return {f"t_{name}": sum(step.forward[name] for step in steps) / len(steps) for name in COMPONENTS}


@dataclass(frozen=True)
class StepFlops:
    """Floating-point operations of a step by the published formulas, a multiply-add as two."""

    device: int
    total: int


def step_flops(config: TransformerConfig, classifier_on_device: bool = False) -> StepFlops:
    """As published: attention's products are counted in the backward pass only.

    Source: maderix/ANE, training/train_large.m. Projections of shared key heads count as they are.
    """
    seq = config.seq
    projections = 2 * config.dim * (config.query_dim + config.kv_dim)
    forward = config.layers * 2 * seq * (projections + 3 * config.dim * config.hidden)
    attention = config.layers * 2 * config.heads * 5 * seq**2 * config.head_dim
    classifier = 2 * config.vocab * config.dim * seq
    device = 2 * forward + attention + (classifier if classifier_on_device else 0)
    return StepFlops(device, 3 * forward + attention + 3 * classifier)


def _total(spans: Sequence[Span], name: str) -> float:
    return sum(end - begin for span, begin, end in spans if span == name) * _MS
