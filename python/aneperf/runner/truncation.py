"""A program's time by truncation: programs that end after an operation, timed in turns.

An engine tells nothing of the operations that it runs. But a program that ends later takes longer, by what
the operations in between cost. Programs are compiled only where that pays: a stretch that takes a large share
of the time is halved, until it is one operation, or compiles run out. The outputs that a program has to give
where it ends are in the difference too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import mil
from .._ane_native import Device
from ..bounds import available_memory
from ..errors import REFUSALS, CompileBudgetError, ProgramError
from ..measure import Sample, measure_interleaved
from ..mil.truncate import Truncated
from .measured import Measured
from .own_program import OwnProgram, ProgramCase
from .parts import Part, part_of, typical_calls
from .timing import Clock, Loaded

CALL = "the call"
_LARGE = 0.02  # of the whole's time: a stretch that takes less is not halved
_LOOKS = 5  # calls by which a stretch is judged
_MEMORY = 0.5  # of what is free, for the weights of all programs

Say = Callable[[str], None]


@dataclass(frozen=True)
class Marginals:
    """The whole's measurement, the parts and the number of compiles that they took."""

    whole: Measured
    parts: list[Part]
    compiles: int


class Truncation:
    """Programs that end after a number of operations, on the device. 0 is a program that computes nothing."""

    def __init__(
        self,
        device: Device,
        case: ProgramCase,
        program: mil.Program,
        inputs: Mapping[str, NDArray[Any]],
        clock: Clock,
        stack: ExitStack,
    ) -> None:
        self._device = device
        self._inputs = inputs
        self._clock = clock
        self._stack = stack
        self._truncated = Truncated(program)
        self._impossible: set[int] = set()
        self._looks: dict[int, float] = {}
        self.compiles = 0
        self.size = len(self._truncated.operations)
        if not self.size:
            raise ProgramError("the program has no operation that depends on an input")
        self.loaded: dict[int, Loaded] = {}
        self._load(self.size, case)
        self._load(0, _case(_smallest(), {}))

    def split(self, most: int, say: Say) -> None:
        """Halve the stretch that takes most time, until none is large or there have been `most` compiles."""
        while self.compiles < most:
            ends = sorted(self.loaded)
            times = {end: self._look(end) for end in ends}
            costs = {
                (first, last): times[last] - times[first]
                for first, last in pairwise(ends)
                if self._candidates(first, last)
            }
            if not costs:
                return
            (first, last), cost = max(costs.items(), key=lambda item: item[1])
            if cost < _LARGE * times[self.size]:
                return
            say(f"{last - first} operations")
            try:
                self._try(self._candidates(first, last)[0])
            except CompileBudgetError:
                return

    def _candidates(self, first: int, last: int) -> list[int]:
        """Return the places where a stretch can be cut, the middle first."""
        middle = (first + last) / 2
        places = (place for place in range(first + 1, last) if place not in self._impossible)
        return sorted(places, key=lambda place: abs(place - middle))

    def _try(self, place: int) -> None:
        """Load the program that ends there, unless none can."""
        program = self._truncated.program(place)
        try:
            if program is None:
                raise ProgramError("no program can end there")
            given = {name: self._inputs[name] for name in program.inputs}
            self._load(place, _case(program, given))
        except CompileBudgetError:
            raise
        except REFUSALS:
            self._impossible.add(place)

    def _load(self, place: int, case: ProgramCase) -> None:
        self.compiles += 1
        self.loaded[place] = self._stack.enter_context(Loaded(self._device, case, self._clock))

    def _look(self, place: int) -> float:
        if place not in self._looks:
            run = self.loaded[place].run
            run(1)
            self._looks[place] = float(np.min(run(_LOOKS)))  # other work makes calls longer
        return self._looks[place]

    def measure(self, budget_s: float) -> tuple[Sample, list[Part]]:
        """Time the programs in turns. Return the whole's calls, and a part for each stretch."""
        ends = sorted(self.loaded)
        order = [self.size, *ends[:-1]]
        turns = measure_interleaved(
            [self.loaded[end].run for end in order],
            budget_s=budget_s,
            span_s=self.loaded[self.size].span_s,
            clock=self._clock,
        )
        times = dict(zip(order, turns.times.T, strict=True))
        typical = typical_calls(times[self.size])
        parts = [part_of(CALL, [], times[0], typical, "port")]
        for first, last in pairwise(ends):
            operations = self._truncated.operations[first:last]
            name = operations[-1].results[0].name
            parts.append(part_of(name, operations, times[last] - times[first], typical))
        return turns.samples[0], parts


def time_truncated(
    device: Device,
    case: ProgramCase,
    program: mil.Program,
    inputs: Mapping[str, NDArray[Any]],
    *,
    compiles: int,
    budget_s: float,
    clock: Clock,
    say: Say,
) -> Marginals:
    """Time a program and what its operations add to it, with at most `compiles` compiles.

    Raises what `REFUSALS` lists if the whole program is refused.
    """
    start = clock()
    free = available_memory()
    weights = max(1, sum(map(len, program.weights.values())))
    most = compiles if free is None else max(2, min(compiles, int(_MEMORY * free / weights)))
    with ExitStack() as stack:
        truncation = Truncation(device, case, program, inputs, clock, stack)
        truncation.split(most, say)
        say(f"{len(truncation.loaded)} programs in turns")
        sample, parts = truncation.measure(max(1e-3, budget_s - (clock() - start)))
        whole = truncation.loaded[truncation.size].judge(sample)
        return Marginals(whole, parts, truncation.compiles)


def _smallest() -> mil.Program:
    b = mil.Builder()
    b.output("y", mil.relu(b.input("x", (1, 32, 1, 32))))
    return b.build()


def _case(program: mil.Program, inputs: Mapping[str, NDArray[Any]]) -> ProgramCase:
    kernel = OwnProgram(lambda: program, inputs or None, "a part of the whole")
    return ProgramCase(key="part", kernel=kernel, params={"config": "part"})
