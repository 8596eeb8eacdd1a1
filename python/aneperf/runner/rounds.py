"""Measure the rows of a probe in fresh processes, in rounds: each process measures every row once.

Rows are visited in turns over the whole time, so that a machine that slows down slows all rows alike, and
the processes of a row lie far apart. What varies between them is then in the row's interval.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, get_type_hints

import msgspec

from .._ane_native import Device
from ..checks import count
from ..errors import ArgumentError, DeviceUnavailable
from ..measure import LEAST_PROCESSES, SETTLING_SPAN_S
from ..results import MAXIMUM_PROCESSES, Result, Row
from .case import Case
from .in_child import NOT_TRIED, Outcome, address_of, run_in_child, time_limit_of
from .measured import Measured
from .merging import merge
from .progress import Progress, ProgressCallback
from .timing import Clock, Part, measure_as, span_of

NO_PROCESS = "no process came to it"  # the reason of a row that is left when a process failed
_START_S = 0.7  # of a process, until it can compile
_ROW_S = {"ane": 0.4, "emulator": 0.05}  # of a row besides its calls: compile, surfaces, check
_REFUSED = (ArgumentError.__name__, DeviceUnavailable.__name__)


@dataclass(frozen=True)
class Repeat:
    """A call of a probe that `number` processes make again: the function, and what chooses its rows.

    The arguments are numbers, texts, dictionaries of them, and lists, for which the function has type hints:
    their items may be dataclasses.
    """

    number: int
    function: Callable[..., Result]
    arguments: Mapping[str, Any]

    def __post_init__(self) -> None:
        count("processes", self.number, 1, MAXIMUM_PROCESSES)

    def affordable(self, budget: float, device: Device, rows: int) -> int:
        """Return how many of the processes the budget allows: 1 where it allows fewer than three."""
        round_s = self._round_s(device, rows)
        number = min(self.number, int(budget / round_s))
        return number if number >= min(LEAST_PROCESSES, self.number) else 1

    def forecast(self, budget: float, device: Device, rows: int) -> str:
        """Say, before the first row, that the budget allows fewer processes than were asked for; or ""."""
        if self.affordable(budget, device, rows) >= self.number:
            return ""
        needed_s = _rounded_up(self.number * self._round_s(device, rows))
        return f"{self.number} processes a row need about {needed_s} s, and the budget is {budget:g} s"

    def note(self, budget: float, device: Device, rows: int, measured: int) -> tuple[str, ...]:
        """Say that the budget allowed fewer processes than were asked for."""
        if measured >= self.number:
            return ()
        needed_s = self.number * max(self._round_s(device, rows), budget / measured if measured > 1 else 0)
        more = f"{self.number} need a budget of about {_rounded_up(needed_s)} s."
        if measured == 1:
            return (f"One process measured each row, so no interval holds what varies between them: {more}",)
        return (f"{measured} processes measured each row: {more}",)

    def _round_s(self, device: Device, rows: int) -> float:
        return _START_S + rows * (_span_s(device, self.number) + _ROW_S[device.info()["kind"]])


def measure_in_rounds(
    repeat: Repeat,
    processes: int,
    device: Device,
    cases: Sequence[Case],
    *,
    budget: float,
    progress: ProgressCallback,
    clock: Clock,
) -> tuple[list[Row], int]:
    """Return a row for each case, and how many processes measured them: at most `processes`.

    Each process gives a row an even share of what is left for it and the processes to come, and skips none
    before all of `budget` is spent. Another one starts only if what is left is enough for what the cheapest
    one before it spent besides calls. A process that fails ends the rounds: what
    it was measuring is in error. Raises ArgumentError, DeviceUnavailable, OSError.
    """
    start = clock()
    by_key = {case.key: case for case in cases}
    rounds: list[dict[str, Row]] = []
    unreached, least_s = NO_PROCESS, 0.0
    while len(rounds) < processes and (left_s := budget - (clock() - start)) > least_s:
        begin = clock()
        finished: dict[str, Row] = {}
        rounds.append(finished)

        def pass_on(
            step: Progress, finished: dict[str, Row] = finished, before: int = len(rounds) - 1
        ) -> None:
            row = None
            if step.row is not None and step.row.key in by_key:
                finished[step.row.key] = step.row
                row = _merged(rounds, by_key[step.row.key])
            done, total = before * len(cases) + step.done, processes * len(cases)
            progress(Progress(done, total, f"{step.doing} (process {before + 1} of {processes})", row))

        outcome = run_in_child(
            measure_again,
            device,
            time_limit=time_limit_of(left_s, device),
            progress=pass_on,
            probe=address_of(repeat.function),
            arguments=dict(repeat.arguments),
            part=Part(processes, processes - len(rounds) + 1),
            budget=left_s,
        )
        if outcome.exception in _REFUSED:
            raise ArgumentError(outcome.failure)
        finished |= {row.key: row for row in outcome.result or ()}
        if outcome.result is None:
            _lose(outcome, cases, finished)
            unreached = NOT_TRIED if outcome.blocked else NO_PROCESS
            break
        calls_s = math.fsum(row.metrics.get("calls_s", 0) for row in finished.values())
        spent_s = clock() - begin - calls_s + len(cases) * _span_s(device, processes)
        least_s = min(least_s or math.inf, spent_s)
    return [_merged(rounds, case, unreached) for case in cases], len(rounds)


def repeat_whole(
    repeat: Repeat, device: Device, *, budget: float, progress: ProgressCallback
) -> list[Outcome]:
    """Make a whole call in each process, in an even share of the budget; the last outcome may be a failure.

    Raises ArgumentError, OSError.
    """
    outcomes: list[Outcome] = []
    while len(outcomes) < repeat.number and all(outcome.result is not None for outcome in outcomes):

        def pass_on(step: Progress, done: int = len(outcomes)) -> None:
            doing = f"{step.doing} (process {done + 1} of {repeat.number})"
            progress(Progress(done, repeat.number, doing, None))

        outcomes.append(
            run_in_child(
                measure_again,
                device,
                time_limit=time_limit_of(budget / repeat.number, device),
                progress=pass_on,
                probe=address_of(repeat.function),
                arguments=dict(repeat.arguments),
                part=Part(repeat.number, 1),
                budget=budget / repeat.number,
            )
        )
        if outcomes[-1].exception in _REFUSED:
            raise ArgumentError(outcomes[-1].failure)
    return outcomes


def measure_again(
    device: Device,
    *,
    probe: str,
    arguments: dict[str, Any],
    part: dict[str, int],
    budget: float,
    progress: ProgressCallback,
) -> Result:
    """Call a probe in a child process, one of several, with arguments as JSON holds them."""
    call: Callable[..., Result] = resolve_name(probe)
    hints = get_type_hints(call)
    given = {
        name: msgspec.convert(value, hints[name]) if isinstance(value, list) else value
        for name, value in arguments.items()
    }
    with measure_as(Part(**part)):
        return call(device=device, budget=budget, progress=progress, **given)


def _span_s(device: Device, processes: int) -> float:
    return span_of(device, processes) or SETTLING_SPAN_S


def _merged(rounds: Sequence[Mapping[str, Row]], case: Case, unreached: str = NO_PROCESS) -> Row:
    rows = [finished[case.key] for finished in rounds if case.key in finished]
    if not rows:
        return case.row(Measured("skipped", unreached))
    row = merge(rows)
    if row.status != "ok":
        return row
    return msgspec.structs.replace(row, metrics={**row.metrics, **case.derive(row.metrics)})


def _lose(outcome: Outcome, cases: Sequence[Case], finished: dict[str, Row]) -> None:
    """Add the row of the case that a lost process was measuring."""
    lost = next((case for case in cases if case.key not in finished), None)
    if lost is not None:
        reason = outcome.failure or "its process ended"
        finished[lost.key] = lost.row(Measured(outcome.status_of_lost, reason))


def _rounded_up(seconds: float) -> int:
    """Return whole seconds, tens of them from 20 on."""
    return math.ceil(seconds) if seconds < 20 else 10 * math.ceil(seconds / 10)
