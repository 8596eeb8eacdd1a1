"""Limits: how many programs a process compiles and loads, how long that takes, and what it overlaps with."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import mil
from .._ane_native import CompileBudget, Device, Program
from ..checks import positive
from ..device import info, opened
from ..errors import REFUSALS, ArgumentError, EvaluateError
from ..kernels.conv_stack import ConvStack
from ..measure import summarise
from ..results import Result, Row
from ..runner.in_child import Outcome, run_in_child
from ..runner.progress import Progress, Step
from ..runner.timing import Fields, refused
from .registry import default_budget

_MOST = 256  # twice the largest number of programs that anyone gives as a limit
_CHANNELS = 64
_NO_LIMIT = 10**9
_ROUNDS = 9  # of compiles beside evaluations
_ROUND_S = 0.05  # of compiles in a round, where these few last that long: all stay below the engine's limit
_MOST_COMPILES = 6
_MOST_CALLS = 10_000
_OVERLAPS = 1.1  # times as fast as one after the other, which noise alone does not give
_QUIET_S = 60.0
_TOTAL = 5  # rows
_LEAST_ROUNDS = 6  # whatever the budget: fewer have no interval
_PARTS = {"kept": 0.3, "released": 0.3, "overlap": 0.4}  # of the budget


def limits(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("limits"),
    most: int = _MOST,
    progress: Progress | None = None,
) -> Result:
    """Compile programs until the device refuses, keeping them loaded and unloading them, in child processes.

    Rows: "limits/kept" and "limits/released" (programs compiled before the first failure, up to `most`, in
    metrics "programs"; how it ended in params), "limits/compile time" and "limits/load time" (of those that
    were kept), and "limits/overlap": compiles beside evaluations in two threads, as the ratio of their time
    one after the other to that at once (unit "x"), with a verdict in params. `budget` is in seconds.
    Raises ArgumentError, DeviceUnavailable.
    """
    positive("budget", budget)
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ArgumentError(f"most must be an integer of at least 1, not {most!r}")
    device = opened(device)
    environment, report = info(device), progress or (lambda step: None)
    # The emulator's limit is the engine's, and part of what it emulates; the engine is asked for its own.
    hard = CompileBudget().hard if device.info()["kind"] == "emulator" else _NO_LIMIT
    unlimited = CompileBudget(_NO_LIMIT, hard)
    rows: list[Row] = []
    notes: tuple[str, ...] = ()

    def run(part: str, function: Callable[..., Result], **arguments: Any) -> Outcome:
        share = _PARTS[part] * budget

        def pass_on(step: Step) -> None:
            report(Step(len(rows), _TOTAL, f"{part}: {step.doing}"))

        return run_in_child(
            function,
            device,
            time_limit=share + _QUIET_S,
            quiet_limit=_QUIET_S,
            compile_budget=unlimited,
            progress=pass_on,
            budget=share,
            **arguments,
        )

    def finish(found: list[Row]) -> None:
        for row in found:
            rows.append(row)
            report(Step(len(rows), _TOTAL, "", row))

    for part in ("kept", "released"):
        report(Step(len(rows), _TOTAL, part))
        outcome = run(part, count_programs, keep=part == "kept", most=most)
        notes += () if outcome.result is None else outcome.result.notes
        finish(_counted(part, outcome))
    report(Step(len(rows), _TOTAL, "overlap"))
    outcome = run("overlap", overlap)
    failure = outcome.failure or ""
    finish(list(outcome.rows) or [_row("overlap", status="error", reason=failure)])
    return Result(probe="limits", environment=environment, rows=tuple(rows), notes=notes)


def _row(name: str, *, params: dict[str, int | float | str] | None = None, **fields: Any) -> Row:
    return Row(key=f"limits/{name}", params={"limit": name, **(params or {})}, **fields)


def _counted(part: str, outcome: Outcome) -> list[Row]:
    """The rows of a child that counted; one that died tells by its last step how far it came."""
    if outcome.result is not None:
        return list(outcome.rows)
    timed = ("compile time", "load time") if part == "kept" else ()
    lost = [_row(name, status="error", reason=f"lost with the process: {outcome.failure}") for name in timed]
    if not outcome.doing.isdecimal():
        return [_row(part, status="error", reason=outcome.failure), *lost]
    ending: dict[str, int | float | str] = {
        "ending": f"the process did not survive the next: {outcome.failure}"
    }
    return [_row(part, status="ok", params=ending, metrics={"programs": int(outcome.doing)}), *lost]


def count_programs(device: Device, *, keep: bool, most: int, budget: float, progress: Progress) -> Result:
    """Compile small programs, no two alike, until one is refused, `most` are made or `budget` is spent."""
    end = time.perf_counter() + budget
    kept: list[Program] = []
    compile_ns, load_ns = [], []
    ending = f"none was refused of {most}"
    part = "kept" if keep else "released"
    notes: tuple[str, ...] = ()
    for count in itertools.count():
        progress(Step(count, most, str(count)))
        if count == most:
            break
        if time.perf_counter() > end:
            ending = f"none was refused of {count} in the time given"
            break
        try:
            program = _small(count).compile(device)
            _check(program)
        except REFUSALS as refusal:
            ending, notes = "the next was refused", (f"{part}: {refusal}",)
            break
        stats = program.stats
        compile_ns += [] if stats.compile_ns is None else [stats.compile_ns]
        load_ns += [] if stats.load_ns is None else [stats.load_ns]
        kept.append(program)
        if not keep:
            kept.pop().unload()
    rows = [_row(part, status="ok", params={"ending": ending}, metrics={"programs": count})]
    if keep:
        rows += [_timed("compile time", compile_ns), _timed("load time", load_ns)]
    return Result(probe="limits", environment=info(device), rows=tuple(rows), notes=notes)


def _small(number: int) -> mil.Program:
    """A program that no other number gives: y = w x, with w its own."""
    weight = np.eye(_CHANNELS, dtype=np.float16)[:, :, None, None] * np.float16(1 + number / 1024)
    b = mil.Builder()
    b.output("y", mil.conv(b.input("x", (1, _CHANNELS, 1, 64)), weight))
    return b.build()


def _check(program: Program) -> None:
    """A program counts if it also runs."""
    y = program.run(x=np.ones((1, _CHANNELS, 1, 64), np.float16))["y"]
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise EvaluateError("a program loaded and gave no result")


def _timed(name: str, ns: list[int]) -> Row:
    if not ns:
        return _row(name, status="unsupported", reason="unavailable: the device does not tell")
    return _row(name, status="ok", **_summary(np.array(ns) / 1e6, "ms"))


def _summary(values: NDArray[np.float64], unit: str) -> Fields:
    found = summarise(values)
    return {
        "unit": unit,
        "n": found.n,
        "median": found.median,
        "mean": found.mean,
        "p05": found.p05,
        "p95": found.p95,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
    }


def overlap(device: Device, *, budget: float, progress: Progress) -> Result:
    """The time of a compile and some evaluations one after the other, over that in two threads at once."""
    end = time.perf_counter() + budget
    stack = ConvStack(channels=256, depth=8, port_dtype="fp16")
    try:
        program = stack.build().compile(device)
        source, result = device.make_surface(program.inputs[0]), device.make_surface(program.outputs[0])
        source.write(stack.input())
        request = program.bind({"x": source}, {"y": result})
        compile_s = max(_compile_time(device, [_another(0)]), 1e-9)
        compiles = max(1, min(round(_ROUND_S / compile_s), _MOST_COMPILES))
        call_s = max(float(np.median(request.time(10))) * 1e-9, 1e-9)
        calls = max(1, min(round(compiles * compile_s / call_s), _MOST_CALLS))
        ratios = []
        for done in range(_ROUNDS):
            progress(Step(done, _ROUNDS, f"round {done + 1} of {_ROUNDS}"))
            if time.perf_counter() > end and done >= _LEAST_ROUNDS:
                break
            ratios.append(_round(device, done, compiles, lambda: request.time(calls)))
    except REFUSALS as refusal:
        return Result(probe="limits", environment=info(device), rows=(_row("overlap", **refused(refusal)),))
    program.unload()
    return Result(probe="limits", environment=info(device), rows=(_overlap_row(ratios, compiles, calls),))


def _another(number: int) -> mil.Program:
    """A stack with weights of its own, so that no cache answers for a compile."""
    return ConvStack(channels=256, depth=8, port_dtype="fp16", seed=1 + number).build()


def _compile_time(device: Device, programs: Sequence[mil.Program]) -> float:
    start = time.perf_counter()
    for program in programs:
        program.compile(device).unload()
    return time.perf_counter() - start


def _round(device: Device, number: int, compiles: int, evaluate: Callable[[], Any]) -> float:
    """Some programs are compiled before the evaluations, others beside them."""
    first = 1 + 2 * compiles * number
    before, beside = ([_another(first + compiles * i + k) for k in range(compiles)] for i in range(2))
    start = time.perf_counter()
    _compile_time(device, before)
    evaluate()
    serial = time.perf_counter() - start
    failures: list[BaseException] = []

    def compile_second() -> None:
        try:
            _compile_time(device, beside)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=compile_second)
    start = time.perf_counter()
    thread.start()
    evaluate()
    thread.join()
    together = time.perf_counter() - start
    if failures:
        raise failures[0]
    return serial / together


def _overlap_row(ratios: list[float], compiles: int, calls: int) -> Row:
    fields = _summary(np.array(ratios), "x")
    low, high = fields["ci_low"], fields["ci_high"]
    if low >= _OVERLAPS:
        verdict = "overlaps: faster at once than one after the other"
    elif high < _OVERLAPS:
        verdict = "does not overlap: at once is no faster than one after the other"
    else:
        verdict = "undecided: the interval holds both"
    params: dict[str, int | float | str] = {"verdict": verdict, "compiles": compiles, "calls": calls}
    return _row("overlap", status="ok", params=params, **fields)
