"""Do compiles overlap with evaluations? The time of both one after the other, over that in two threads."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import mil
from .._ane_native import Device
from ..errors import REFUSALS
from ..kernels.conv_stack import ConvStack
from ..measure import summarize
from ..runner.measured import Measured, refused
from ..runner.progress import Progress, ProgressCallback

_ROUNDS = 9
_LEAST_ROUNDS = 6  # whatever the budget: fewer have no interval
_ROUND_S = 0.05  # of compiles in a round, as far as _MOST_COMPILES allows
_MOST_COMPILES = 6  # in either half of a round: all rounds stay below the engine's limit
_MOST_CALLS = 10_000
_OVERLAPS = 1.1  # times as fast in two threads; noise alone does not give that


def measure_overlap(device: Device, *, budget: float, progress: ProgressCallback) -> Measured:
    """Time rounds of compiles and about as long evaluations, until `budget` seconds are spent."""
    end = time.perf_counter() + budget
    stack = ConvStack(channels=256, depth=8, port_dtype="fp16")
    try:
        with stack.build().compile(device) as program:
            source, result = (device.make_surface(port) for port in (*program.inputs, *program.outputs))
            source.write(stack.input())
            request = program.bind({"x": source}, {"y": result})
            compile_s = max(_compile_time(device, [_another(0)]), 1e-9)
            compiles = max(1, min(round(_ROUND_S / compile_s), _MOST_COMPILES))
            call_s = max(float(np.median(request.time(10))) * 1e-9, 1e-9)
            calls = max(1, min(round(compiles * compile_s / call_s), _MOST_CALLS))
            ratios = []
            for done in range(_ROUNDS):
                progress(Progress(done, _ROUNDS, f"round {done + 1} of {_ROUNDS}"))
                if time.perf_counter() > end and done >= _LEAST_ROUNDS:
                    break
                ratios.append(_round(device, done, compiles, lambda: request.time(calls)))
    except REFUSALS as refusal:
        return refused(refusal)
    return judge_overlap(ratios, compiles, calls)


def judge_overlap(ratios: Sequence[float], compiles: int, calls: int) -> Measured:
    """Judge by the interval of the ratios' median."""
    found = summarize(np.array(ratios))
    verdict = "undecided: the interval holds both"
    if found.ci_low is not None and found.ci_low >= _OVERLAPS:
        verdict = "overlaps: faster at once than one after the other"
    elif found.ci_high is not None and found.ci_high < _OVERLAPS:
        verdict = "does not overlap: at once is no faster than one after the other"
    return Measured(
        "ok",
        statistics=found,
        unit="x",
        params={"verdict": verdict, "compiles": compiles, "calls": calls},
    )


def _another(number: int) -> mil.Program:
    """Return a stack with weights of its own, which no cache has compiled before."""
    return ConvStack(channels=256, depth=8, port_dtype="fp16", seed=1 + number).build()


def _compile_time(device: Device, programs: Sequence[mil.Program]) -> float:
    start = time.perf_counter()
    for program in programs:
        program.compile(device).unload()
    return time.perf_counter() - start


def _round(device: Device, number: int, compiles: int, evaluate: Callable[[], Any]) -> float:
    """Time compiles before evaluations, then others during evaluations; return the ratio of the times."""
    first = 1 + 2 * compiles * number
    before, during = ([_another(first + compiles * i + k) for k in range(compiles)] for i in range(2))
    start = time.perf_counter()
    _compile_time(device, before)
    evaluate()
    serial = time.perf_counter() - start
    failures: list[BaseException] = []

    def compile_second() -> None:
        try:
            _compile_time(device, during)
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
