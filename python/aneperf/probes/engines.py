"""Engines: which ones the system tells of, and whether two programs at once get twice the throughput."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

import numpy as np

from .._ane_native import Device
from ..checks import positive
from ..chips import find_chip
from ..device import info, opened
from ..errors import REFUSALS, ArgumentError
from ..kernels.repeated_stack import RepeatedStack
from ..measure import SETTLING_S, Estimate, analyze, summarize
from ..results import Environment, Result, Row
from ..runner.beside import Beside, BesideLost, Order, program_beside
from ..runner.case import stack_case
from ..runner.measured import Measured, doubt_of, ratio_in, refused
from ..runner.progress import Progress, ProgressCallback, reporter
from ..runner.timing import Clock, Loaded
from .registry import default_budget

# An M6 runs programs of 128 positions on one of its engines, and of 256 on both (751K). Of a call of this
# depth 1.2 ms are the engine's, which leaves little to gain by an overlap of the host's part.
STACK = RepeatedStack(channels=512, depth=256, width=128)
EMULATED = replace(STACK, depth=8)
_ROUNDS, _LEAST_ROUNDS = 20, 6  # fewer have no interval
_SLOT_S = 0.1
_MOST_CALLS = 10_000
_DOUBLES, _GAINS = 1.7, 1.1  # times the throughput of one program
_ALONE = "alone"
_NAMES = {
    _ALONE: "one program",
    "threads": "two, in threads",
    "processes": "two, in processes",
}


class Partner(Protocol):
    """A second program, which makes calls at the same time."""

    def begin(self, calls: int) -> None:
        """Begin some calls."""

    def finish(self) -> None:
        """Wait for their end. Raises what became of them."""

    def check(self) -> None:
        """Check the output of the last call. Raises BesideLost if it is wrong."""


class _Thread:
    """A second program in a thread of this process."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._failures: list[BaseException] = []
        self._durations = np.ones(1, np.int64)
        self._thread: threading.Thread | None = None

    def begin(self, calls: int) -> None:
        self._thread = threading.Thread(target=self._run, args=(calls,))
        self._thread.start()

    def finish(self) -> None:
        assert self._thread is not None
        self._thread.join()
        if self._failures:
            raise self._failures.pop()

    def check(self) -> None:
        if reason := self._loaded.judge(analyze(self._durations)).reason:
            raise BesideLost(reason)

    def _run(self, calls: int) -> None:
        try:
            self._durations = self._loaded.run(calls)
        except BaseException as error:
            self._failures.append(error)


class _Process:
    """A second program in a process of its own."""

    def __init__(self, beside: Beside) -> None:
        self._beside = beside

    def begin(self, calls: int) -> None:
        self._beside.begin(Order(calls=calls))

    def finish(self) -> None:
        self._beside.wait()

    def check(self) -> None:
        self._beside.do(Order(check=True))


def engines(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("engines"),
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Run one program, and two at once in two threads and in two processes: does throughput double?

    The programs are stacks of convolutions with one weight, so that arithmetic takes their time and not the
    memory that engines share. Each round times all arrangements, and a ratio is the median of the rounds'.
    `budget` is in seconds of `clock`. Keys: "engines/system" has the number of engines that the system tells,
    "engines/conv512x256/sp128/alone", ".../threads" and ".../processes" the time of a call, by the calls of
    both programs together, and the metrics "ratio", "ratio_low" and "ratio_high" of throughput to that of
    one program. Notes hold the verdict.
    Raises ArgumentError, DeviceUnavailable.
    """
    positive("budget", budget)
    device = opened(device)
    environment = info(device)
    report = reporter(progress)
    stack = EMULATED if environment.is_software else STACK
    report(Progress(0, 1 + len(_NAMES), "two programs"))
    found = _measure(device, stack, budget, clock, report)
    rows = [_system_row(environment)]
    rows += [_row(stack, name, measured) for name, measured in found.items()]
    for done, row in enumerate(rows):
        report(Progress(done + 1, len(rows), "", row))
    notes = [
        judge_throughput(found),
        "Ratio: throughput of two programs / of one, in turns, ± the larger half of its 95 % interval.",
        *doubt_of(environment),
    ]
    if told := rows[0].params.get("verdict"):
        notes.insert(0, f"Engines: {told}.")
    if environment.is_software:
        notes.insert(0, f"The {environment.device} has no engines: programs share the CPU's cores.")
    return Result(probe="engines", environment=environment, rows=tuple(rows), notes=tuple(notes))


def _system_row(environment: Environment) -> Row:
    """Return the engines that the system tells of, beside those that are published of the chip."""
    params: dict[str, int | float | str] = {"config": "the system"}
    key = "engines/system"
    if environment.device == "emulator":
        return Measured("unsupported", "unavailable: the emulator has no engines").row(key, params)
    told = environment.properties.get("engines", "")
    if not told.isdecimal():
        return Measured("unsupported", "unavailable: the framework does not tell").row(key, params)
    published = ""
    try:
        number = find_chip(environment.chip).engines
        published = "" if number is None else f"; {number} published for {environment.chip}"
    except ArgumentError:  # a chip that the table does not have
        pass
    return Measured(
        "ok", metrics={"engines": float(told)}, params={"verdict": f"{told} by the framework{published}"}
    ).row(key, params)


def _row(stack: RepeatedStack, arrangement: str, measured: Measured) -> Row:
    params: dict[str, int | float | str] = {"config": _NAMES[arrangement], "arrangement": arrangement}
    where = f"conv{stack.channels}x{stack.depth}/sp{stack.width}"
    return measured.row(f"engines/{where}/{arrangement}", params)


def _measure(
    device: Device, stack: RepeatedStack, budget: float, clock: Clock, report: ProgressCallback
) -> dict[str, Measured]:
    """Return what became of each arrangement."""
    start = clock()
    first, second, third = (replace(stack, seed=seed) for seed in range(3))
    failed: dict[str, Measured] = {}
    partners: dict[str, Partner] = {}
    with ExitStack() as context:
        try:
            alone = context.enter_context(Loaded(device, stack_case("engines", first), clock))
        except REFUSALS as refusal:
            return dict.fromkeys(_NAMES, refused(refusal))
        try:
            loaded = context.enter_context(Loaded(device, stack_case("engines", second), clock))
            partners["threads"] = _Thread(loaded)
        except REFUSALS as refusal:
            failed["threads"] = refused(refusal)
        try:
            partners["processes"] = _Process(context.enter_context(program_beside(device, third)))
        except BesideLost as lost:
            failed["processes"] = Measured("error", str(lost))
        try:
            if device.info()["kind"] == "ane":
                _warm_up(alone, clock)
            left_s = max(1e-3, budget - (clock() - start))
            found = failed | measure_rounds(alone, partners, stack, left_s, clock, report)
            if reason := alone.judge(analyze(alone.run(1))).reason:
                found["alone"] = Measured("error", reason)
        except REFUSALS as failure:
            return dict.fromkeys(_NAMES, Measured("error", str(failure))) | failed
    return {name: found[name] for name in _NAMES}


def _warm_up(alone: Loaded, clock: Clock) -> None:
    """Keep the engine at work until its clocks have settled."""
    end = clock() + SETTLING_S
    while clock() < end:
        alone.run(10)


def measure_rounds(
    alone: Loaded,
    partners: Mapping[str, Partner],
    stack: RepeatedStack,
    budget: float,
    clock: Clock,
    report: ProgressCallback,
) -> dict[str, Measured]:
    """Time rounds of one program alone and beside each partner. If a partner fails, only its row is lost."""
    end = clock() + budget
    call_s = max(float(np.median(alone.run(3))) * 1e-9, 1e-6)
    calls = max(1, min(round(_SLOT_S / call_s), _MOST_CALLS))
    walls: dict[str, list[float]] = {name: [] for name in (_ALONE, *partners)}
    failed: dict[str, Measured] = {}
    for done in range(_ROUNDS):
        if clock() > end and done >= _LEAST_ROUNDS:
            break
        report(Progress(0, 1 + len(_NAMES), f"round {done + 1} of {_ROUNDS}"))
        for name in list(walls) if done % 2 else list(reversed(walls)):
            try:
                walls[name].append(_wall(alone, partners.get(name), calls, clock))
            except (*REFUSALS, BesideLost) as failure:
                if name == _ALONE:
                    raise
                failed[name] = Measured("error", str(failure))
                del walls[name]
    for name in set(partners).difference(failed):
        try:
            partners[name].check()
        except BesideLost as wrong:
            failed[name] = Measured("error", str(wrong))
    return {name: _timed(walls, name, calls, stack) for name in walls} | failed


def _wall(alone: Loaded, partner: Partner | None, calls: int, clock: Clock) -> float:
    """Return the seconds that the program's calls take, and those of its partner if it has one."""
    start = clock()
    if partner is None:
        alone.run(calls)
    else:
        partner.begin(calls)
        try:
            alone.run(calls)
        finally:
            partner.finish()
    return max(clock() - start, 1e-9)


def _timed(walls: Mapping[str, Sequence[float]], name: str, calls: int, stack: RepeatedStack) -> Measured:
    programs = 1 if name == _ALONE else 2
    found = np.array(walls[name])
    times = summarize(found * 1e3 / (programs * calls))
    rates = {"calls_per_s": 1e3 / times.median, "tflops": stack.flops / (times.median * 1e9)}
    measured = Measured("ok", statistics=times, metrics=rates)
    if name == _ALONE:
        return measured
    ratios = summarize(programs * np.array(walls[_ALONE]) / found)
    return measured.with_ratio(Estimate(ratios.median, ratios.ci_low, ratios.ci_high))


def judge_throughput(found: Mapping[str, Measured]) -> str:
    """Say whether throughput doubles, by the intervals of the ratios."""
    ratios = {name: ratio for name, one in found.items() if (ratio := ratio_in(one)) is not None}
    if found[_ALONE].status != "ok" or not ratios:
        return "Throughput of two programs: nothing is known."
    said = [f"in two {name} {_verdict(ratio)}, {ratio.as_factor()}" for name, ratio in ratios.items()]
    return f"Throughput of two programs: {'; '.join(said)}."


def _verdict(ratio: Estimate) -> str:
    if ratio.is_above(_DOUBLES):
        return "doubles"
    if ratio.is_below(_GAINS):
        return "does not grow"
    if ratio.is_above(_GAINS):
        return "grows" + (", and does not double" if ratio.is_below(_DOUBLES) else "")
    return "is undecided"
