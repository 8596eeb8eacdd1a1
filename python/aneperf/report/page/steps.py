"""The steps of a training run, from its result or its telemetry: times of components, and losses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...results import Result
from ..telemetry_table import Telemetry

Phase = Literal["forward", "backward", "both"]
_EXCHANGES = ("allreduce", "allreduce-exposed")
_NOT_PARTS = ("step", "ane-rate", "compile", "update", "staging", "dw", "evaluation", *_EXCHANGES)
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
class Allreduce:
    """The sums of gradients over the ranks: mean ms of an update, and of the part that steps did not hide."""

    ms: float
    exposed_ms: float

    @property
    def hidden_share(self) -> float:
        """Return the share of the time that steps hid."""
        return 1 - self.exposed_ms / self.ms if self.ms else 0.0


@dataclass(frozen=True)
class Steps:
    """The parts of each step, which add up to `wall`; `dw` runs in parallel."""

    parts: tuple[Part, ...]
    dw: float | None  # mean, in ms, without the first step
    losses: tuple[tuple[int, float], ...] = ()
    validations: tuple[tuple[int, float], ...] = ()
    allreduce: Allreduce | None = None  # of several ranks
    losses_of: Literal["step", "update"] = "step"

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
    whole, exposed = (
        [ns * _MS for ns in rows[name].durations_ns] if name in rows else [] for name in _EXCHANGES
    )
    return Steps(
        _sensible(parts),
        _mean(products),
        allreduce=_allreduce(list(zip(whole, exposed, strict=False)) if len(whole) == len(exposed) else []),
    )


def _allreduce(updates: Sequence[tuple[float, float]]) -> Allreduce | None:
    """Return the means of the time and of its exposed part; None if there are none, or what is no time."""
    if not updates or not all(0 <= exposed <= ms < _LARGEST for ms, exposed in updates):
        return None
    return Allreduce(*(sum(values) / len(updates) for values in zip(*updates, strict=True)))


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
    updates = telemetry.updates
    exchanges = [
        (update.allreduce_ms, update.exposed_ms)
        for update in updates
        if update.allreduce_ms is not None and update.exposed_ms is not None
    ]
    # With several ranks, the losses of rank 0's steps are not those of all. An update's loss is.
    told: Iterable[tuple[int | None, float | None]] = telemetry.losses
    if exchanges:
        told = ((update.step, update.loss) for update in updates)
    return Steps(
        _sensible(parts),
        _mean(products),
        _drawable(told),
        _drawable(telemetry.validations),
        _allreduce(exchanges),
        "update" if exchanges else "step",
    )


def _sensible(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the parts, or none if they are not of the same steps or hold what is no time."""
    counts = {len(part.ms) for part in parts}
    values = [ms for part in parts for ms in part.ms]
    if len(counts) != 1 or 0 in counts or not all(math.isfinite(ms) and abs(ms) < _LARGEST for ms in values):
        return ()
    # Rounding leaves parts of a few ns below zero.
    return tuple(Part(part.name, part.phase, tuple(max(0.0, ms) for ms in part.ms)) for part in parts)


def _drawable(losses: Iterable[tuple[int | None, float | None]]) -> tuple[tuple[int, float], ...]:
    """Return the losses that are known, of steps that can be."""
    known = ((step, loss) for step, loss in losses if step is not None and loss is not None)
    return tuple(
        (step, loss)
        for step, loss in known
        if 0 <= step < 2**53 and math.isfinite(loss) and abs(loss) < _LARGEST
    )
