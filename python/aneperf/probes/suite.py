"""Every probe, one after another, in one result."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from .._ane_native import Device
from ..checks import positive
from ..device import info, opened
from ..errors import ArgumentError
from ..results import Environment, Result, Row
from ..runner.in_child import run_in_child
from ..runner.progress import NO_TIME, Progress, Step
from .registry import PROBES, Probe, default_budget

_PATIENCE = 2.0  # times its budget, and some seconds more, before a probe's process is killed
_PATIENCE_S = 180.0


def suite(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("suite"),
    only: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    progress: Progress | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Run all probes, or `only` some, but those in `skip`, and give all their rows in one result.

    `budget` is in seconds, for all of them: each gets its weight's part of what is left. Those that could
    spend the process's compiles, crash or hang run in a process of their own and are killed when they take
    more than twice their time; a probe that fails costs its own rows only, and a row in error tells of it.
    Rows have the keys that they have in the probes' own results; notes begin with the probe's name.
    Raises ArgumentError, DeviceUnavailable.
    """
    probes = choose(only, skip)
    end = clock() + positive("budget", budget)
    device = opened(device)
    environment, report = info(device), progress or (lambda step: None)
    rows: dict[str, Row] = {}
    notes: list[str] = []
    for done, probe in enumerate(probes):
        weights = [other.share for other in probes[done:]]
        share = max(0.0, end - clock()) * weights[0] / sum(weights)
        report(Step(done, len(probes), probe.name))
        reported: set[str] = set()

        def pass_on(step: Step, at: int = done, of: Probe = probe, seen: set[str] = reported) -> None:
            if step.row is not None:
                seen.add(step.row.key)
            report(Step(at, len(probes), f"{of.name}: {step.doing}".rstrip(": "), step.row))

        result = _run(probe, device, environment, share, pass_on)
        for row in result.rows:
            unique = row if row.key not in rows else _renamed(row, probe, rows)
            rows[unique.key] = unique
            if row.key not in reported:
                report(Step(done, len(probes), probe.name, unique))
        notes += [f"{probe.name}: {note}" for note in result.notes]
    report(Step(len(probes), len(probes), ""))
    return Result(probe="suite", environment=environment, rows=tuple(rows.values()), notes=tuple(notes))


def choose(only: Sequence[str] | None = None, skip: Sequence[str] = ()) -> list[Probe]:
    """The probes that are meant, in the table's order. Raises ArgumentError for unknown names, or none."""
    for names, argument in ((only or (), "only"), (skip, "skip")):
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise ArgumentError(f"{argument} must be a list of probes, not {names!r}")
        for name in names:
            if name not in PROBES:
                raise ArgumentError(
                    f"{argument}: no probe is called {name!r}: choose from {', '.join(PROBES)}"
                )
    left = [probe for name, probe in PROBES.items() if (only is None or name in only) and name not in skip]
    if not left:
        raise ArgumentError("no probe is left to run: skip fewer")
    return left


def _run(probe: Probe, device: Device, environment: Environment, share: float, progress: Progress) -> Result:
    """A probe's result, whatever becomes of it."""
    if share <= 0:
        row = Row(key=f"{probe.name}/unfinished", status="skipped", reason=NO_TIME)
        return Result(probe=probe.name, environment=environment, rows=(row,))
    if probe.in_child:
        limit = _PATIENCE * share + _PATIENCE_S
        outcome = run_in_child(
            probe.load(), device, time_limit=limit, quiet_limit=limit, progress=progress, budget=share
        )
        return outcome.as_result(probe.name, environment)
    finished: list[Row] = []

    def keep(step: Step) -> None:
        finished.extend([] if step.row is None else [step.row])
        progress(step)

    try:
        return probe.run(device, budget=share, progress=keep)
    except Exception as failure:
        reason = f"{type(failure).__name__}: {failure}"
        lost = Row(key=f"{probe.name}/unfinished", status="error", reason=reason)
        return Result(probe=probe.name, environment=environment, rows=(*finished, lost))


def _renamed(row: Row, probe: Probe, taken: Mapping[str, Row]) -> Row:
    """A row whose key another probe has used: rows are never lost for their names."""
    key = f"{probe.name}/{row.key}"
    while key in taken:
        key += "+"
    return msgspec.structs.replace(row, key=key)
