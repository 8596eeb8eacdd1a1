"""The steps of a training run, from its result or its telemetry: times of components, and losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...results import Result
from ..telemetry_table import Telemetry

Phase = Literal["forward", "backward", "both"]
_NOT_PARTS = ("step", "ane-rate", "compile", "update", "staging", "dw", "evaluation")
_BOTH = ("cls", "silu", "cblas_wait")  # rows of the dynamic pipeline that are of both phases
_MS = 1e-6
_LARGEST = 1e12  # ms; larger numbers are no times of a step


def after_start(steps: Sequence[float]) -> Sequence[float]:
    """Return the steps without the first, which starts caches, threads and the device, if there are more."""
    return steps[1:] or steps


@dataclass(frozen=True)
class Part:
    """A component in one phase, or in both where a file does not tell them apart; ms of each step."""

    name: str
    phase: Phase
    ms: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the mean over the steps, without the first one."""
        kept = after_start(self.ms)
        return sum(kept) / len(kept)


@dataclass(frozen=True)
class Steps:
    """The parts of each step, which add up to `wall`; `dw` runs in parallel."""

    parts: tuple[Part, ...]
    dw: float | None  # mean, in ms, without the first step
    losses: tuple[tuple[int, float], ...] = ()
    validations: tuple[tuple[int, float], ...] = ()

    @property
    def wall(self) -> float:
        """Return the mean time of a step, without the first one."""
        return sum(part.mean for part in self.parts)

    @property
    def count(self) -> int:
        """Count the steps."""
        return len(self.parts[0].ms) if self.parts else 0

    def by_component(self) -> dict[str, list[float]]:
        """Return the ms of each step by component, over both phases."""
        found: dict[str, list[float]] = {}
        for part in self.parts:
            total = found.setdefault(part.name, [0.0] * len(part.ms))
            found[part.name] = [one + other for one, other in zip(total, part.ms, strict=True)]
        return found


def steps_of_result(result: Result) -> Steps:
    """Return the steps of a training result, which has durations of components and no losses."""
    rows = {
        str(row.params.get("config", "")): row for row in result if row.status == "ok" and row.durations_ns
    }
    is_dynamic = "ane_bwd" in rows
    times = {
        name: tuple(ns * _MS for ns in row.durations_ns)
        for name, row in rows.items()
        if name not in _NOT_PARTS
    }
    parts = [Part(*_place(name, is_dynamic), ms) for name, ms in times.items()]
    products = [ns * _MS for ns in rows["dw"].durations_ns] if "dw" in rows else []
    return Steps(_sensible(parts), _mean(products))


def _mean(products: Sequence[float]) -> float | None:
    kept = after_start(products)
    return sum(kept) / len(kept) if kept else None


def _place(name: str, is_dynamic: bool) -> tuple[str, Phase]:
    """Return a row's component and phase."""
    for end in ("-backward", "_bwd"):
        if name.endswith(end):
            return name.removesuffix(end), "backward"
    if name == "other" or (is_dynamic and name in _BOTH):
        return name, "both"
    return name.removesuffix("_fwd"), "forward"


def steps_of_telemetry(telemetry: Telemetry) -> Steps:
    """Return the steps of telemetry. Lines without all components are left out."""
    lines = telemetry.times
    names = list(lines[0].forward) if lines else []
    whole = [
        line
        for line in lines
        if list(line.forward) == names and list(line.backward) == names and line.other is not None
    ]
    phases: Mapping[Phase, Sequence[Mapping[str, float]]] = {
        "forward": [line.forward for line in whole],
        "backward": [line.backward for line in whole],
    }
    parts = [
        Part(name, phase, tuple(step[name] for step in steps))
        for phase, steps in phases.items()
        for name in names
    ]
    if whole:
        parts.append(Part("other", "both", tuple(line.other or 0.0 for line in whole)))
    products = [line.dw for line in whole if line.dw is not None]
    return Steps(
        _sensible(parts),
        _mean(products),
        tuple((step, loss) for step, loss in telemetry.losses if _is_drawable(step, loss)),
        tuple((step, loss) for step, loss in telemetry.validations if _is_drawable(step, loss)),
    )


def _sensible(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the parts, or none if they are not of the same steps or hold what is no time."""
    counts = {len(part.ms) for part in parts}
    values = [ms for part in parts for ms in part.ms]
    if len(counts) != 1 or 0 in counts or not all(math.isfinite(ms) and abs(ms) < _LARGEST for ms in values):
        return ()
    # Rounding leaves parts of a few ns below zero.
    return tuple(Part(part.name, part.phase, tuple(max(0.0, ms) for ms in part.ms)) for part in parts)


def _is_drawable(step: int, loss: float) -> bool:
    return 0 <= step < 2**53 and math.isfinite(loss) and abs(loss) < _LARGEST
