"""Bench: time programs of the user's own."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from numpy.typing import NDArray

from .. import mil
from .._ane_native import Device
from ..bounds import ROWS
from ..checks import shown
from ..device import opened
from ..errors import ArgumentError
from ..mil.half import CONVERT, computes_in_fp32
from ..mil.template import AxisValue, Source, Template, template_of
from ..results import Result, Row
from ..runner.energy import meter_cases, meter_of
from ..runner.own_program import CHANGES, OwnProgram, ProgramCase
from ..runner.progress import ProgressCallback, reporter
from ..runner.rounds import Repeat
from ..runner.run import run_cases
from ..runner.timing import Clock
from .registry import default_budget
from .sweep import parse_values

Axes = Mapping[str, Sequence[AxisValue]]


def bench(
    program: Source,
    device: Device | str | None = None,
    *,
    axes: Axes | None = None,
    inputs: Mapping[str, NDArray[Any]] | str | os.PathLike[str] | None = None,
    check: bool = True,
    fp16: bool = False,
    name: str | None = None,
    energy: bool = False,
    budget: float = default_budget("bench"),
    processes: int = 1,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time a program of your own, a row for each combination of the values of `axes`.

    `program` is a mil.Program or Builder; a function that returns one, whose parameters are the axes; or a
    path: what `mil.read` takes, "templates.py" or "templates.py:function". `inputs` are arrays by name or the
    path of an .npz file; by default, standard normal values. Outputs are compared with the float64 reference
    unless `check` is False; a row that was not compared says why. `fp16` converts what computes in fp32, as
    `mil.to_fp16` does; the row's parameter "fp16" tells the changes. Keys are of `name`, by default the
    file's or the function's, and the axes' values: "bench/mlp.py:mlp/n=64". More than one of `processes`,
    which are as those of `peak`, read program and inputs themselves: both must be paths. With `energy`, which
    comes on top of the budget, each row has the power above idle, or why it is unknown: first nothing runs
    for some seconds, then a known load, and at the end each program for as long as its power needs.
    Raises ArgumentError, DeviceUnavailable, ProgramError, ResultFileError.
    """
    template = template_of(program)
    points = _points(axes or {})
    template.check_axes(axes or {})
    title = template.name if name is None else name
    unchecked = "" if check else "the check was left out"
    device = opened(device)
    if fp16:
        template = converted(template, device)
    cases = [_case(title, template, point, inputs, unchecked) for point in points]
    report = reporter(progress)
    meter = meter_of(device, report, clock) if energy else None
    result = run_cases(
        "bench",
        device,
        cases,
        budget=budget,
        progress=report,
        clock=clock,
        repeat=_repeat(processes, program, axes, inputs, title, check=check, fp16=fp16),
    )
    if meter is not None:
        result = meter_cases(result, device, cases, meter, report, clock)
    return msgspec.structs.replace(result, notes=(*result.notes, *program_notes(result.rows)))


def _repeat(
    processes: int,
    program: Source,
    axes: Axes | None,
    inputs: Mapping[str, NDArray[Any]] | str | os.PathLike[str] | None,
    title: str,
    **chosen: bool,
) -> Repeat:
    texts = paths_of(processes, program=program, inputs=inputs)
    given = {"axes": axes and {axis: list(values) for axis, values in axes.items()}, "name": title}
    return Repeat(processes, bench, {**texts, **given, **chosen})


def paths_of(processes: int, **given: object) -> dict[str, str]:
    """Return the arguments that are paths. Raises ArgumentError for others, if processes read them."""
    for name, path in given.items():
        if processes != 1 and path is not None and not isinstance(path, (str, os.PathLike)):
            raise ArgumentError(f"processes: each reads {name} itself: give a path, or processes=1")
    return {name: os.fspath(path) for name, path in given.items() if isinstance(path, (str, os.PathLike))}


def bench_file(
    device: Device | str | None = None,
    *,
    file: str,
    axis: Sequence[str] = (),
    inputs: str | None = None,
    unchecked: bool = False,
    fp16: bool = False,
    energy: bool = False,
    budget: float = default_budget("bench"),
    processes: int = 1,
    progress: ProgressCallback | None = None,
) -> Result:
    """Do what `bench` does, with arguments as the command has them: an axis is "n=64,128"."""
    return bench(
        file,
        device,
        axes=parse_axes(axis),
        inputs=inputs,
        check=not unchecked,
        fp16=fp16,
        energy=energy,
        budget=budget,
        processes=processes,
        progress=progress,
    )


def parse_axes(texts: Sequence[str]) -> dict[str, list[AxisValue]]:
    """Return the values of each axis, from texts such as "n=64,128" or "n=64..512". Raises ArgumentError."""
    axes: dict[str, list[AxisValue]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not name.isidentifier() or not equals or not values:
            raise ArgumentError(f"--axis {shown(text)} is no axis: give n=64,128 or n=64..512")
        if name in axes:
            raise ArgumentError(f"--axis {name} is given twice: give its values once, n=64,128")
        if ".." in values:
            axes[name] = [*parse_values(f"--axis {name}", values, ())]
        else:
            axes[name] = [_value(part.strip()) for part in values.split(",")]
    return axes


def program_notes(rows: Sequence[Row]) -> list[str]:
    """Write a line for each thing to know of a program, with the rows that share it.

    They are changes of a conversion, reasons why outputs were not compared, and a refusal of fp32.
    """
    names: dict[str, list[str]] = {}
    for row in rows:
        if CHANGES in row.params:
            names.setdefault(str(row.params[CHANGES]), []).append(row.name)
        if "output" in row.params:
            names.setdefault(f"output {row.params['output']}", []).append(row.name)
        if computes_in_fp32(row.reason or ""):
            names.setdefault(f"{CONVERT}.", []).append(row.name)
    return [f"{', '.join(sharing)}: {note}" for note, sharing in names.items()]


def _value(text: str) -> AxisValue:
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return text


def converted(template: Template, device: Device) -> Template:
    """Return a template whose programs are in fp16, with the ports that the device takes."""
    found = device.info()
    chip = found.get("subtype") or found["chip"]
    return replace(template, convert=lambda program: mil.to_fp16(program, chip))


def _points(axes: Axes) -> list[dict[str, AxisValue]]:
    for name, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ArgumentError(f"axis {name} must be a list of values, not {shown(values)}")
        if wrong := [value for value in values if not isinstance(value, (int, float, str))]:
            raise ArgumentError(f"axis {name}: {shown(wrong[0])} is no number and no text")
        if len(set(values)) < len(values):
            raise ArgumentError(f"axis {name} has a value twice: {shown(list(values))}")
    if (number := math.prod(map(len, axes.values()))) > ROWS:
        raise ArgumentError(f"the axes make {number} rows, and a result has at most {ROWS}: give fewer")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _case(
    title: str,
    template: Template,
    point: dict[str, AxisValue],
    inputs: Mapping[str, NDArray[Any]] | str | os.PathLike[str] | None,
    unchecked: str,
) -> ProgramCase:
    settings = [f"{axis}={value}" for axis, value in point.items()]
    return ProgramCase(
        key="/".join(["bench", title, *settings]),
        kernel=OwnProgram(partial(template.program, **point), inputs, unchecked),
        params={
            "config": " ".join(settings) or title,
            "program": title,
            **{f"axis_{axis}": value for axis, value in point.items()},
        },
    )
