"""A program's time by the steps of the emulator, which it times one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .._ane_native import Request
from ..measure import Estimate, Sample, measure_interleaved
from ..mil import Graph, Operation
from .parts import Part, part_of, typical_calls
from .timing import Clock, Loaded


class _Stepped:
    """A `run` whose calls are timed step by step: a call's duration is the sum of its steps'."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._batches: list[NDArray[np.int64]] = []

    def __call__(self, count: int) -> NDArray[np.int64]:
        """Make the calls."""
        self._batches.append(self._request.time_steps(count))
        calls: NDArray[np.int64] = self._batches[-1].sum(1)
        return calls

    def times(self) -> NDArray[np.int64]:
        """Return the durations of all calls [calls, steps]."""
        return np.concatenate(self._batches)


def time_steps(
    loaded: Loaded, graph: Graph, budget_s: float, clock: Clock
) -> tuple[Sample, list[Part], Estimate]:
    """Time a program whole and step by step, in turns.

    Return the whole's calls, the parts, and the ratio of the sum of the steps to the whole. Steps that
    compute an operation together are one part.
    """
    stepped = _Stepped(loaded.request)
    turns = measure_interleaved([loaded.run, stepped], budget_s=budget_s, span_s=loaded.span_s, clock=clock)
    whole, sample = turns.samples
    times = stepped.times()[sample.warm_up :].astype(np.float64)
    producers = {
        result.name: operation
        for operation in graph.statements
        if isinstance(operation, Operation)
        for result in operation.results
    }
    ports = {tensor.name: "input" for tensor in graph.inputs}
    # A port that several steps load joins none of them.
    steps = [[name for name in names if name in producers] or names for names in loaded.program.steps]
    typical = typical_calls(times.sum(1))
    parts = []
    for group in _groups(steps):
        names = list(dict.fromkeys(name for step in group for name in steps[step]))
        operations = list(dict.fromkeys(producers[name] for name in names if name in producers))
        operations.sort(key=lambda operation: operation.line or 0)
        named = operations[-1].results[0].name if operations else names[0]
        parts.append(part_of(named, operations, times[:, group].sum(1), typical, ports.get(named, "")))
    return whole, parts, turns.ratios[1]


def _groups(steps: Sequence[Sequence[str]]) -> list[list[int]]:
    """Group the steps that have a value in common, in the order of each group's first step."""
    leaders: list[int] = []
    owner: dict[str, int] = {}

    def leader(step: int) -> int:
        while leaders[step] != step:
            step = leaders[step]
        return step

    for step, names in enumerate(steps):
        leaders.append(step)
        for name in names:
            first, second = sorted((leader(owner.setdefault(name, step)), leader(step)))
            leaders[second] = first
    groups: dict[int, list[int]] = {}
    for step in range(len(steps)):
        groups.setdefault(leader(step), []).append(step)
    return list(groups.values())
