"""Suite: every probe, one after another, in one result."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from .._ane_native import Device
from ..checks import count, positive, shown
from ..device import info, opened
from ..errors import ArgumentError
from ..results import MAXIMUM_PROCESSES, Environment, Result, Row
from ..runner.in_child import NOT_TRIED, is_blocked, run_in_child, time_limit_of
from ..runner.progress import NO_TIME, Progress, ProgressCallback, reporter
from .probe import Probe
from .registry import PROBES, default_budget


def suite(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("suite"),
    only: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    processes: int = 1,
    progress: ProgressCallback | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Run all probes, or `only` some, without those in `skip`, and collect their rows in one result.

    `budget` is in seconds, for all of them: each probe gets its share of what is left. Probes that could use
    up the process's compiles, crash or hang run in child processes, which are killed after more than twice
    their time. A probe that fails loses its own rows only, and a row in error tells why. After a compile that
    did not end, a small program tells whether others do; if not, the rest is skipped. With
    `processes`, up to that many fresh processes measure each row of the probes that time rows, as a probe's
    share of the budget allows. Rows keep the keys of the probes' own results. Notes begin with the probe's
    name.
    Raises ArgumentError, DeviceUnavailable.
    """
    probes = choose(only, skip)
    count("processes", processes, 1, MAXIMUM_PROCESSES)
    end = clock() + positive("budget", budget)
    device = opened(device)
    environment, report = info(device), reporter(progress)
    rows: dict[str, Row] = {}
    notes: list[str] = []
    skipped = ""
    for done, probe in enumerate(probes):
        weights = [other.share for other in probes[done:]]
        share = max(0.0, end - clock()) * weights[0] / sum(weights)
        skipped = skipped or ("" if share else NO_TIME)
        report(Progress(done, len(probes), probe.name))
        reported: set[str] = set()

        def pass_on(progress: Progress, at: int = done, of: Probe = probe, seen: set[str] = reported) -> None:
            if progress.row is not None:
                seen.add(progress.row.key)
            report(Progress(at, len(probes), f"{of.name}: {progress.doing}".rstrip(": "), progress.row))

        result = (
            _skipped(probe, environment, skipped)
            if skipped
            else _run(probe, device, environment, share, processes, pass_on)
        )
        skipped = skipped or (NOT_TRIED if is_blocked(result.rows) else "")
        for row in result.rows:
            unique = row if row.key not in rows else _renamed(row, probe, rows)
            rows[unique.key] = unique
            if row.key not in reported:
                report(Progress(done, len(probes), probe.name, unique))
        notes += [f"{probe.name}: {note}" for note in result.notes]
    report(Progress(len(probes), len(probes), ""))
    return Result(probe="suite", environment=environment, rows=tuple(rows.values()), notes=tuple(notes))


def choose(only: Sequence[str] | None = None, skip: Sequence[str] = ()) -> list[Probe]:
    """Return the chosen probes, in the registry's order. Raises ArgumentError for unknown names, or none."""
    for names, argument in ((only or (), "only"), (skip, "skip")):
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise ArgumentError(f"{argument} must be a list of probes, not {shown(names)}")
        for name in names:
            if name not in PROBES:
                raise ArgumentError(
                    f"{argument}: no probe is called {name!r}: choose from {', '.join(PROBES)}"
                )
    left = [probe for name, probe in PROBES.items() if (only is None or name in only) and name not in skip]
    if not left:
        raise ArgumentError("no probe is left to run: skip fewer")
    return left


def _run(
    probe: Probe,
    device: Device,
    environment: Environment,
    share: float,
    processes: int,
    progress: ProgressCallback,
) -> Result:
    """Return a probe's result, also if it fails."""
    several: dict[str, Any] = {"processes": processes} if probe.processes and processes > 1 else {}
    if probe.in_child:
        limit = time_limit_of(share, device)
        outcome = run_in_child(
            probe.load(), device, time_limit=limit, progress=progress, budget=share, **several
        )
        return outcome.as_result(probe.name, environment)
    finished: list[Row] = []

    def keep(at: Progress) -> None:
        finished.extend([] if at.row is None else [at.row])
        progress(at)

    try:
        return probe.run(device, budget=share, progress=keep, **several)
    except Exception as failure:
        reason = f"{type(failure).__name__}: {failure}"
        lost = Row(key=f"{probe.name}/unfinished", status="error", reason=reason)
        return Result(probe=probe.name, environment=environment, rows=(*finished, lost))


def _skipped(probe: Probe, environment: Environment, reason: str) -> Result:
    row = Row(key=f"{probe.name}/unfinished", status="skipped", reason=reason)
    return Result(probe=probe.name, environment=environment, rows=(row,))


def _renamed(row: Row, probe: Probe, taken: Mapping[str, Row]) -> Row:
    """Rename a row whose key another probe has used: no row replaces another."""
    key = f"{probe.name}/{row.key}"
    while key in taken:
        key += "+"
    return msgspec.structs.replace(row, key=key)
