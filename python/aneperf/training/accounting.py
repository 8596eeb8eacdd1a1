"""Where the time of a step goes, and how much work a step is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..kernels import TransformerConfig
from ..kernels.schedule import Pipeline
from .lora import Lora

Span = tuple[str, int, int]  # name, begin, end in ns of time.monotonic_ns, which all processes share

COMPONENTS = ("ane", "io", "cls", "elem", "rms", "cblas_wait")
_MS = 1e-6

# The published figures of the dynamic pipeline, and the components that they consist of. No captures are
# copied here (dw_copy): the gradients of weights are computed from what the surfaces keep.
_DYNAMIC: Mapping[str, Sequence[tuple[str, str]]] = {
    "ane_fwd": [("forward", "ane")],
    "io_fwd": [("forward", "io")],
    "rms": [("forward", "rms")],
    "ane_bwd": [("backward", "ane")],
    "io_bwd": [("backward", "io")],
    "silu": [("forward", "silu"), ("backward", "silu")],
    "rms_bwd": [("backward", "rms")],
    "cls": [("forward", "cls"), ("backward", "cls")],
    "cblas_wait": [("forward", "cblas_wait")],
    "dw_copy": [],
}


def covered_ns(spans: Sequence[Span]) -> int:
    """Return the time that is in at least one of the spans, in ns."""
    covered, end = 0, 0
    for _, begin, until in sorted(spans, key=lambda span: span[1]):
        covered += max(0, until - max(begin, end))
        end = max(end, until)
    return covered


def components(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the components of a pipeline's step."""
    return (*COMPONENTS, "silu") if pipeline == "dynamic" else COMPONENTS


class Clock:
    """Records when the components of a step run. They do not overlap, and belong to the phase set last."""

    def __init__(self) -> None:
        self.phase = "fwd"
        self._spans: list[Span] = []

    @contextlib.contextmanager
    def __call__(self, component: str) -> Iterator[None]:
        """Record the time inside as that of `component`."""
        begin = time.monotonic_ns()
        try:
            yield
        finally:
            self._spans.append((f"{component}_{self.phase}", begin, time.monotonic_ns()))

    def take(self) -> list[Span]:
        """Return the spans since the last call."""
        spans, self._spans = self._spans, []
        return spans


@dataclass(frozen=True)
class StepTimes:
    """Milliseconds of one step. The components of both phases and `other` add up to `wall`.

    `dw` is the time of the weights' gradients, which are computed in parallel.
    """

    wall: float  # from the start of the step to its end
    forward: dict[str, float]  # by component
    backward: dict[str, float]  # by component
    dw: float

    @classmethod
    def of(
        cls, wall_ns: int, spans: Sequence[Span], products: Sequence[Span], pipeline: Pipeline = "static"
    ) -> StepTimes:
        """Sum up the spans of the components, and those of the products that make the weights' gradients."""
        names = components(pipeline)
        return cls(
            wall_ns * _MS,
            {name: _total(spans, f"{name}_fwd") for name in names},
            {name: _total(spans, f"{name}_bwd") for name in names},
            sum(end - begin for _, begin, end in products) * _MS,
        )

    @property
    def other(self) -> float:
        """Return the time outside the components: Python between them."""
        return self.wall - sum(self.forward.values()) - sum(self.backward.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the times as data, in ms."""
        return {
            "wall": self.wall,
            "forward": self.forward,
            "backward": self.backward,
            "dw": self.dw,
            "other": self.other,
        }


def published_times(steps: Sequence[StepTimes], pipeline: Pipeline = "static") -> dict[str, float]:
    """Return the published figures under their names, means over these steps.

    Those of the static pipelines are of the forward pass only. Their elem contains the embedding, the
    residual sums and the loss; in the dynamic pipeline the loss is in cls. The published cblas_wait is the
    wait of the forward pass, which is almost zero.
    """
    published = [_published(step, pipeline) for step in steps]
    prefix = "" if pipeline == "dynamic" else "t_"
    return {
        f"{prefix}{name}": sum(times[name] for times in published) / len(published) for name in published[0]
    }


def keyed_times(step: StepTimes, pipeline: Pipeline) -> dict[str, float]:
    """Return all components under the keys of results: the published figures, and what these leave out.

    With `other` they add up to `wall`.
    """
    published = _published(step, pipeline)
    phases = {"forward": step.forward, "backward": step.backward}
    told = {part for parts in _DYNAMIC.values() for part in parts}
    if pipeline != "dynamic":
        told = {("forward", name) for name in step.forward}
    rest = {
        f"{name}-backward" if phase == "backward" else name: times[name]
        for phase, times in phases.items()
        for name in times
        if (phase, name) not in told
    }
    return published | rest


def _published(step: StepTimes, pipeline: Pipeline) -> dict[str, float]:
    if pipeline != "dynamic":
        return dict(step.forward)
    phases = {"forward": step.forward, "backward": step.backward}
    return {
        name: sum((phases[phase][part] for phase, part in parts), 0.0) for name, parts in _DYNAMIC.items()
    }


@dataclass(frozen=True)
class StepFlops:
    """Floating-point operations of a step by the published formulas; a multiply-add counts as two."""

    device: int
    total: int


def step_flops(
    model: TransformerConfig, pipeline: Pipeline = "static", lora: Lora | None = None
) -> StepFlops:
    """Count the operations of a step as published, with attention's products in the backward pass only.

    Projections of shared key heads count at their own size. With adapters, their gradients count instead of
    those of the weights. Source: maderix/ANE, training/train_large.m.
    """
    seq = model.seq
    projections = 2 * model.dim * (model.query_dim + model.kv_dim)
    forward = model.layers * 2 * seq * (projections + 3 * model.dim * model.hidden)
    attention = model.layers * 2 * model.heads * 5 * seq**2 * model.head_dim
    classifier = 2 * model.vocab * model.dim * seq
    device = 2 * forward + attention + (classifier if pipeline == "static-ane" else 0)
    backward = forward + classifier
    gradients = backward if lora is None else lora.gradient_flops(model)
    return StepFlops(device, forward + classifier + attention + backward + gradients)


def _total(spans: Sequence[Span], name: str) -> float:
    return sum(end - begin for span, begin, end in spans if span == name) * _MS
