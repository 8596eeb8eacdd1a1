"""Run a probe that times cases: groups of them, one after the other, within a time budget."""

import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from .._ane_native import Device
from ..checks import positive
from ..device import info, opened
from ..results import Result, Row
from .case import Case
from .in_child import NOT_TRIED
from .measured import Measured
from .progress import NO_TIME, Budget, Progress, ProgressCallback, reporter
from .rounds import NO_PROCESS, Repeat, measure_in_rounds
from .timing import Clock, part, time_together

_NO_COMPILES = (
    "A process has a budget of compiles: measure the skipped rows in a new process, or on a device from "
    "aneperf.open(..., compile_budget=N)."
)
MeasureGroup = Callable[[Device, Sequence[Case], float, Clock], Sequence[Measured]]


def run_cases(
    probe: str,
    device: Device | str | None,
    cases: Sequence[Case],
    *,
    budget: float,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
    notes: Iterable[str] = (),
    repeat: Repeat | None = None,
) -> Result:
    """Time each case in its share of `budget` seconds, those that cost least first.

    Raises ArgumentError, DeviceUnavailable.
    """
    result = run_groups(
        probe,
        device,
        [[case] for case in sorted(cases, key=lambda case: case.cost)],
        time_together,
        budget=budget,
        progress=progress,
        clock=clock,
        notes=notes,
        repeat=repeat,
    )
    order = {case.key: place for place, case in enumerate(cases)}
    rows = sorted(result.rows, key=lambda row: order[row.key])
    return msgspec.structs.replace(result, rows=tuple(rows))


def run_groups(
    probe: str,
    device: Device | str | None,
    groups: Sequence[Sequence[Case]],
    measure_group: MeasureGroup,
    *,
    budget: float,
    progress: ProgressCallback | None,
    clock: Clock,
    notes: Iterable[str] = (),
    repeat: Repeat | None = None,
) -> Result:
    """Measure the cases of each group together: `measure_group(device, group, seconds, clock)`.

    With `repeat`, fresh processes measure them, as many as the budget allows.
    """
    total = sum(map(len, groups))
    positive("budget", budget)
    device = opened(device)
    environment = info(device)  # asks other programs: not a matter of the budget
    shares = Budget(budget / part().to_come, total, clock, longest=budget)
    report = reporter(progress)
    if repeat is not None and (forecast := repeat.forecast(budget, device, total)):
        report(Progress(0, total, "", note=forecast))
    if repeat is not None and (processes := repeat.affordable(budget, device, total)) > 1:
        cases = [case for group in groups for case in group]
        rows, processes = measure_in_rounds(
            repeat, processes, device, cases, budget=budget, progress=report, clock=clock
        )
    else:
        rows, processes = _measure_here(device, groups, measure_group, shares, report, clock), 1
    few = () if repeat is None else repeat.note(budget, device, total, processes)
    return Result(
        probe=probe,
        environment=environment,
        rows=tuple(rows),
        notes=(*notes, *few, *compile_notes(rows)),
    )


def _measure_here(
    device: Device,
    groups: Sequence[Sequence[Case]],
    measure_group: MeasureGroup,
    shares: Budget,
    report: ProgressCallback,
    clock: Clock,
) -> list[Row]:
    total = sum(map(len, groups))
    rows: list[Row] = []
    for group in groups:
        report(Progress(len(rows), total, group[0].name, rows[-1] if rows else None))
        share_s = shares.next_share(len(group))
        measured: Sequence[Measured] = [Measured("skipped", NO_TIME)] * len(group)
        if share_s > 0:
            measured = measure_group(device, group, share_s, clock)
        for place, (case, one) in enumerate(zip(group, measured, strict=True)):
            rows.append(case.row(one))
            if place + 1 < len(group):
                report(Progress(len(rows), total, case.name, rows[-1]))
    report(Progress(total, total, "", rows[-1] if rows else None))
    return rows


def compile_notes(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return a note if rows were skipped because the compiles ran out."""
    others = (NO_TIME, NO_PROCESS, NOT_TRIED)
    lacking = any(row.status == "skipped" and row.reason not in others for row in rows)
    return (_NO_COMPILES,) if lacking else ()
