"""What most probes are: cases measured one after the other, or a few together, each of them a row."""

import time
from collections.abc import Callable, Iterable, Sequence

from .._ane_native import Device
from ..device import info, opened
from ..results import Result, Row
from .case import Case
from .progress import NO_TIME, Budget, Progress, Step
from .timing import Clock, Fields, time_kernel

_NO_COMPILES = (
    "A process has a budget of compiles: measure the skipped rows in a new process, or on a device from "
    "aneperf.open(..., compile_budget=N)."
)


def run_cases(
    probe: str,
    device: Device | str | None,
    cases: Sequence[Case],
    *,
    budget: float,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter,
    notes: Iterable[str] = (),
) -> Result:
    """Measure each case in its share of `budget` seconds. Raises ArgumentError, DeviceUnavailable."""

    def measure_one(device: Device, group: Sequence[Case], share_s: float) -> list[Fields]:
        return [time_kernel(device, group[0], share_s, clock)]

    groups = [[case] for case in cases]
    return run_groups(
        probe, device, groups, measure_one, budget=budget, progress=progress, clock=clock, notes=notes
    )


def run_groups(
    probe: str,
    device: Device | str | None,
    groups: Sequence[Sequence[Case]],
    measure_group: Callable[[Device, Sequence[Case], float], list[Fields]],
    *,
    budget: float,
    progress: Progress | None,
    clock: Clock,
    notes: Iterable[str] = (),
) -> Result:
    """Groups of cases that are measured together: `measure_group` gives the fields of each one's row."""
    total = sum(map(len, groups))
    shares = Budget(budget, total, clock)
    device = opened(device)
    environment = info(device)
    report = progress or (lambda step: None)
    rows: list[Row] = []
    for group in groups:
        report(Step(len(rows), total, group[0].name, rows[-1] if rows else None))
        share_s = shares.next_share(len(group))
        if share_s > 0:
            measured = measure_group(device, group, share_s)
        else:
            measured = [{"status": "skipped", "reason": NO_TIME} for _ in group]
        for place, (case, fields) in enumerate(zip(group, measured, strict=True)):
            rows.append(case.row(**fields))
            if place + 1 < len(group):
                report(Step(len(rows), total, case.name, rows[-1]))
    report(Step(total, total, "", rows[-1] if rows else None))
    return Result(
        probe=probe, environment=environment, rows=tuple(rows), notes=(*notes, *compile_notes(rows))
    )


def compile_notes(rows: Iterable[Row]) -> tuple[str, ...]:
    """What to do about rows that were skipped for want of compiles."""
    lacking = any(row.status == "skipped" and row.reason != NO_TIME for row in rows)
    return (_NO_COMPILES,) if lacking else ()
