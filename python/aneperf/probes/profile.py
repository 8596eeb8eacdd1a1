"""Profile: where a program's time goes, operation by operation."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from numpy.typing import NDArray

from .. import mil
from .._ane_native import Device
from ..checks import choice, count, positive
from ..device import info, opened
from ..errors import REFUSALS, ArgumentError
from ..mil.template import AxisValue, Source, template_of
from ..mil.work import Work, work_of
from ..results import MAXIMUM_PROCESSES, Result, Row
from ..runner.measured import Measured, refused
from ..runner.merging import merge
from ..runner.own_program import OwnProgram, ProgramCase
from ..runner.parts import Part
from ..runner.progress import MINIMUM_SHARE_S, Progress, ProgressCallback, silent
from ..runner.rounds import Repeat, repeat_whole
from ..runner.run import compile_notes
from ..runner.stepped import time_steps
from ..runner.timing import Clock, Loaded
from ..runner.truncation import time_truncated
from .bench import converted, parse_axes, paths_of, program_notes
from .registry import default_budget

METHODS = ("steps", "truncation")
WHOLE = "the whole"
COMPILES = 40
_MOST_PARTS = 1000  # rows: of more, the largest

Method = Literal["steps", "truncation"]


def profile(
    program: Source,
    device: Device | str | None = None,
    *,
    method: Method | None = None,
    axes: Mapping[str, AxisValue] | None = None,
    inputs: Mapping[str, NDArray[Any]] | str | os.PathLike[str] | None = None,
    check: bool = True,
    fp16: bool = False,
    compiles: int = COMPILES,
    name: str | None = None,
    budget: float = default_budget("profile"),
    processes: int = 1,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time the operations of a program of your own: a row for each, or for those that run as one.

    "steps", the emulator's method, times each step of its plan. "truncation", the only one on an engine,
    times programs that end after some operations, with at most `compiles` compiles; a row is then what its
    operations add to the time. `axes` are a template's parameters; other arguments are those of `bench`. Each
    of several `processes` profiles in its share of the budget, and the rows are of all of them.
    Keys: "profile/NAME" is the whole program, "profile/NAME/RESULT" a part, by its last operation's result.
    Raises ArgumentError, DeviceUnavailable, ProgramError, ResultFileError.
    """
    positive("budget", budget)
    count("compiles", compiles, 2)
    template = template_of(program)
    template.check_axes(axes or {})
    device = opened(device)
    if fp16:
        template = converted(template, device)
    is_emulator = device.info()["kind"] == "emulator"
    chosen = choice("method", method or ("steps" if is_emulator else "truncation"), METHODS)
    if chosen == "steps" and not is_emulator:
        raise ArgumentError("method: only the emulator times its steps; the engine's is truncation")
    point = dict(axes or {})
    title = template.name if name is None else name
    report = progress or silent
    if count("processes", processes, 1, MAXIMUM_PROCESSES) > 1:
        paths = paths_of(processes, program=program, inputs=inputs)
        same = {"method": chosen, "axes": point, "check": check, "fp16": fp16, "compiles": compiles}
        repeat = Repeat(processes, profile, {**paths, **same, "name": title})
        return _repeated(repeat, device, budget, report)
    title = "/".join([title, *(f"{axis}={value}" for axis, value in point.items())])
    kernel = OwnProgram(lambda: template.program(**point), inputs, "" if check else "the check was left out")
    case = ProgramCase(f"profile/{title}", kernel, {"config": WHOLE, "method": chosen})
    report(Progress(0, 1, title))
    start, parts, notes = clock(), list[Part](), list[str]()
    try:
        made = kernel.build()
        graph = mil.parse(made.text)
        if chosen == "steps":
            with Loaded(device, case, clock) as loaded:
                left_s = max(MINIMUM_SHARE_S, budget - (clock() - start))
                sample, parts, ratio = time_steps(loaded, graph, left_s, clock)
                whole = loaded.judge(sample).with_ratio(ratio)
            notes.append("Steps: operations that the emulator runs as one are one row.")
        else:
            found = time_truncated(
                device,
                case,
                made,
                kernel.inputs(),
                compiles=compiles,
                budget_s=budget,
                clock=clock,
                say=lambda doing: report(Progress(0, 1, doing)),
            )
            whole, parts = found.whole, found.parts
            notes.append(
                f"Truncation, {found.compiles} compiles: a row is the time that its operations add to a "
                "program that ends before them, with the outputs that it has to give there."
            )
        work = {operation.results[0].name: one for operation, one in work_of(graph).items()}
    except REFUSALS as refusal:
        whole, parts, work = refused(refusal), [], {}
    rows, sum_notes = _rows(title, case, whole, parts, work)
    report(Progress(1, 1, "", rows[-1]))
    return Result(
        probe="profile",
        environment=info(device),
        rows=rows,
        notes=(*sum_notes, *notes, *program_notes(rows), *compile_notes(rows)),
    )


def _repeated(repeat: Repeat, device: Device, budget: float, progress: ProgressCallback) -> Result:
    """Profile in several processes, and merge their rows. Parts have no durations: their medians count."""
    environment = info(device)
    outcomes = repeat_whole(repeat, device, budget=budget, progress=progress)
    results = [outcome.as_result("profile", environment) for outcome in outcomes]
    found: dict[str, list[Row]] = {}
    for result in results:
        for row in result:
            found.setdefault(row.key, []).append(row if row.durations_ns else _without_calls(row))
    rows = [merge(same) for same in found.values()]
    rows.sort(key=lambda row: row.params.get("config") == WHOLE)  # the last one
    notes = [f"{len(results)} processes profiled it: a row is the geometric mean of their medians."]
    if rare := sum(len(same) < len(results) for same in found.values()):
        notes.append(
            f"{rare} rows are of some processes only, because each divided the program in its own way."
        )
    told = {note for result in results for row in result for note in _sum_notes(row)}
    notes += [note for note in results[0].notes if note not in told]
    return Result(
        probe="profile",
        environment=environment,
        rows=tuple(rows),
        notes=(*_sum_notes(rows[-1]), *notes),
    )


def _without_calls(row: Row) -> Row:
    return msgspec.structs.replace(row, n=None, mean=None, p05=None, p95=None)


def profile_file(
    device: Device | str | None = None,
    *,
    file: str,
    method: Method | None = None,
    axis: Sequence[str] = (),
    inputs: str | None = None,
    unchecked: bool = False,
    fp16: bool = False,
    compiles: int = COMPILES,
    budget: float = default_budget("profile"),
    processes: int = 1,
    progress: ProgressCallback | None = None,
) -> Result:
    """Do what `profile` does, with arguments as the command has them: an axis is "n=64"."""
    axes = parse_axes(axis)
    if several := [name for name, values in axes.items() if len(values) > 1]:
        raise ArgumentError(f"--axis {several[0]}: a profile is of one program: give one value")
    return profile(
        file,
        device,
        method=method,
        axes={name: values[0] for name, values in axes.items()},
        inputs=inputs,
        check=not unchecked,
        fp16=fp16,
        compiles=compiles,
        budget=budget,
        processes=processes,
        progress=progress,
    )


def _rows(
    title: str, case: ProgramCase, whole: Measured, parts: Sequence[Part], work: Mapping[str, Work]
) -> tuple[tuple[Row, ...], list[str]]:
    """Return the rows of the parts and of the whole, and notes on their sum."""
    row = case.row(whole)
    if not parts or not row.median:
        return (row,), []
    kept = set(sorted(parts, key=lambda part: -part.typical)[:_MOST_PARTS])
    total = sum(part.typical for part in parts)
    rows = [part.row(title, total, work) for part in parts if part in kept]
    share = row.metrics.get("ratio", total / row.median)
    row = msgspec.structs.replace(row, metrics={**row.metrics, "sum_ms": total, "share": share})
    notes = _sum_notes(row)
    if left := [part for part in parts if part not in kept]:
        notes.append(f"{len(left)} parts that take {sum(part.typical for part in left):.2g} ms are left out.")
    return (*rows, row), notes


def _sum_notes(row: Row) -> list[str]:
    """Say what the parts add up to, if this is the row of the whole."""
    total, share = row.metrics.get("sum_ms"), row.metrics.get("share")
    if total is None or share is None:
        return []
    return [f"The parts add up to {total:.4g} ms{_compared(row, share)} of the whole."]


def _compared(row: Row, share: float) -> str:
    """Say how the sum of the parts compares with the whole: for steps, which are timed in turns with it."""
    if "ratio" not in row.metrics:
        return f", {share:.1%} of the median"
    low, high = row.metrics.get("ratio_low"), row.metrics.get("ratio_high")
    interval = "" if low is None or high is None else f" ({low:.1%} to {high:.1%})"
    return f"; timed in turns, their sum is {share:.1%}{interval}"
