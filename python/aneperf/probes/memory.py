"""Memory: how many bytes of weights load at once, in a child process, within a part of what is free."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .. import mil
from .._ane_native import CompileBudget, Device, Program
from ..bounds import available_memory
from ..checks import count, positive
from ..device import compile_timeout_of, info, opened
from ..errors import REFUSALS, EvaluateError
from ..machine import peak_memory
from ..results import Result, Row
from ..runner.in_child import Outcome, run_in_child
from ..runner.measured import Measured, Params, refused
from ..runner.progress import Progress, ProgressCallback, reporter
from .registry import default_budget

_CHANNELS = 2048  # a weight of 8 MiB
_POSITIONS = 64
_LAYERS, _LAYERS_IN_SOFTWARE = 32, 4  # of a program: 256 MiB and 32 MiB
_MOST_MIB, _MOST_IN_SOFTWARE = 8192, 128  # by default; some engines map 4 GiB (omlx, M3 Max, M1 Ultra)
# A weight may lie in this process, in its file, in the service and in the engine's form: all of the weights
# take a fraction of the free memory, and each program leaves several times its size.
_PART = 8
_SPARE = 4
_QUIET_S = 120.0  # besides a compile
_KEY = "memory/loaded"
_MIB = 1 << 20


def memory(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("memory"),
    most: int | None = None,
    progress: ProgressCallback | None = None,
) -> Result:
    """Load programs of convolutions, 256 MiB of weights each, until one is refused, and keep them loaded.

    The weights in all are at most `most` MiB, by default 8,192, and at most an eighth of the memory that is
    free, or that the Mac has: no run takes the machine's memory. In software a program has 32 MiB, and
    128 MiB are the default. A child process does it, and every program is run before it counts. `budget` is
    in seconds. Key: "memory/loaded", with the metrics "loaded_mib", "programs" and "resident_ratio", the
    growth of the process's peak memory over the weights, and the verdict in params.
    Raises ArgumentError, DeviceUnavailable.
    """
    positive("budget", budget)
    device = opened(device)
    environment = info(device)
    default = _MOST_IN_SOFTWARE if environment.is_software else _MOST_MIB
    layers = _LAYERS_IN_SOFTWARE if environment.is_software else _LAYERS
    report = reporter(progress)
    bound, why = bound_of(default if most is None else count("most", most, 1, 1 << 20), most is None)
    row = _measure(device, layers, bound, why, budget, report)
    report(Progress(1, 1, "", row))
    notes = [f"Weights: {row.params['verdict']}."] if "verdict" in row.params else []
    if environment.is_software:
        notes.insert(0, f"The {environment.device} keeps weights in ordinary memory, so the run is small.")
    return Result(probe="memory", environment=environment, rows=(row,), notes=tuple(notes))


def bound_of(most: int, is_default: bool) -> tuple[int, str]:
    """Return the MiB of weights to load at most, and what bounds them."""
    free = available_memory()
    if free is not None and free // _PART // _MIB < most:
        return free // _PART // _MIB, f"an eighth of {free // _MIB} MiB of memory"
    return most, f"{most} MiB are the default of --most" if is_default else "--most is the bound"


def _measure(
    device: Device, layers: int, bound: int, why: str, budget: float, report: ProgressCallback
) -> Row:
    size = _size(layers)
    if bound < size:
        return _row(
            Measured("skipped", f"a program has {size} MiB of weights, and {bound} are the most: {why}")
        )
    number = bound // size
    quiet_limit = _QUIET_S + compile_timeout_of(device)
    outcome = run_in_child(
        load_programs,
        device,
        time_limit=budget + quiet_limit,
        quiet_limit=quiet_limit,
        compile_budget=CompileBudget(),
        progress=lambda at: report(Progress(0, 1, f"{at.doing} of {number} programs")),
        layers=layers,
        number=number,
        why=why,
        budget=budget,
    )
    return counted(outcome, size)


def counted(outcome: Outcome, size: int) -> Row:
    """Return the row of a child; the last report of one that died holds its count."""
    if outcome.result is not None:
        return outcome.rows[0]
    if not outcome.doing.isdecimal() or outcome.expired or int(outcome.doing) == 0:
        return _row(Measured(outcome.status_of_lost, outcome.failure))
    return _loaded(int(outcome.doing), size, f"the process did not survive the next: {outcome.failure}")


def _row(measured: Measured) -> Row:
    return measured.row(_KEY, {"config": "weights loaded at once"})


def _loaded(programs: int, size: int, ending: str, **metrics: float) -> Row:
    number = "one program" if programs == 1 else f"{programs} programs"
    verdict = f"{programs * size} MiB load and run, in {number}; {ending}"
    found = {"loaded_mib": float(programs * size), "programs": float(programs), **metrics}
    return _row(Measured("ok", metrics=found, params={"verdict": verdict}))


def _none(failure: Measured | None, ending: str) -> Row:
    """Return the row where no program was loaded: 0 MiB would be a figure."""
    verdict: Params = {"verdict": f"none is loaded; {ending}"}
    return _row(replace(failure or Measured("skipped", ending), params=verdict))


def load_programs(
    device: Device,
    *,
    layers: int,
    number: int,
    why: str,
    budget: float,
    progress: ProgressCallback,
) -> Result:
    """Load programs and keep them, until one is refused, all are loaded, or time or memory are spent."""
    end = time.perf_counter() + budget
    size = _size(layers)
    base = np.random.default_rng(0).standard_normal((_CHANNELS, _CHANNELS), np.float32) / _CHANNELS**0.5
    weight = base.astype(np.float16)
    x = np.ones((1, _CHANNELS, 1, _POSITIONS), np.float16)
    programs: list[Program] = []
    outputs: list[NDArray[np.float16]] = []
    before = peak_memory()
    failure: Measured | None = None
    while True:
        progress(Progress(len(programs), number, str(len(programs))))
        if ending := _ending(len(programs), number, size, why, end):
            break
        try:
            program = _program(len(programs), layers, weight).compile(device)
            outputs.append(_run(program, x))
        except REFUSALS as refusal:
            failure = refused(refusal)
            ending = f"the next was refused: {refusal}"
            break
        programs.append(program)
    row = _none(failure, ending)
    if programs:
        growth = (peak_memory() - before) / (len(programs) * size * _MIB)
        row = _loaded(len(programs), size, ending, resident_ratio=growth)
        if not np.array_equal(_run(programs[0], x), outputs[0]):
            row = _row(Measured("error", "the first program gives another output beside the others"))
    return Result(probe="memory", environment=info(device), rows=(row,))


def _ending(programs: int, number: int, size: int, why: str, end: float) -> str:
    """Return why no other program is loaded, or ""."""
    if programs == number:
        return f"no more were tried: {why}"
    if time.perf_counter() > end:
        return "no more were tried in the time given"
    free = available_memory()
    if free is not None and free < _SPARE * size * _MIB:
        return f"no more were tried: {free // _MIB} MiB of memory are free"
    return ""


def _size(layers: int) -> int:
    return layers * 2 * _CHANNELS**2 // _MIB


def _program(number: int, layers: int, weight: NDArray[np.float16]) -> mil.Program:
    """Return a chain whose text and weights belong to this number alone, for a cache has equal ones once."""
    b = mil.Builder()
    y = b.input("x", (1, _CHANNELS, 1, _POSITIONS))
    for layer in range(layers):
        y = mil.conv(y, np.roll(weight, number * layers + layer, axis=0)[:, :, None, None])
    b.output(f"y{number}", y)
    return b.build()


def _run(program: Program, x: NDArray[np.float16]) -> NDArray[np.float16]:
    """Return the output of a program: one that does not run does not count."""
    (y,) = program.run(x=x).values()
    if not (np.isfinite(y).all() and y.any()):
        raise EvaluateError("a program loaded and gave no result")
    return y
