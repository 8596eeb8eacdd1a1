"""Contention: the time of a call alone, with every core of the CPU busy, and with the GPU busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .._ane_native import Device
from ..checks import positive
from ..device import info, opened
from ..errors import REFUSALS
from ..kernels.conv_stack import ConvStack
from ..measure import Estimate, analyze, summarize
from ..results import Result, Row
from ..runner.beside import Beside, BesideLost, Order, cpu_beside, gpu_beside
from ..runner.case import Case, StackCase
from ..runner.measured import Measured, doubt_of, ratio_in, refused
from ..runner.progress import Budget, Progress, ProgressCallback, reporter
from ..runner.timing import Clock, Loaded
from .registry import default_budget

# The smallest call, which is the host's, and one that waits for its weights from memory.
STACKS = (
    ConvStack(channels=64, depth=1, width=32, port_dtype="fp16"),
    ConvStack(channels=512, depth=64, width=64, port_dtype="fp16"),
)
STATES = {"alone": "alone", "cpu": "CPU busy", "gpu": "GPU busy"}
_ROUNDS, _LEAST_ROUNDS = 20, 6  # fewer have no interval
_TURN_S = 0.1
_SETTLE_S = 0.03  # after a load begins or ends
_MOST_CALLS = 10_000
_NOTABLE = 0.05
_NOTE = "Ratio: time beside the load / alone, in turns, ± the larger half of its 95 % interval."


def contention(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("contention"),
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time calls alone, beside a load on every core, and beside a load on the GPU, in turns.

    A process hashes in as many threads as there are cores; another computes products and long sums through
    MLX, where it is installed and has a GPU. `budget` is in seconds of `clock`, for the whole probe. Keys:
    "contention/conv64x1/sp32/alone", ".../cpu" and ".../gpu". The metrics of the latter two hold the time
    beside the load over that alone: "ratio", "ratio_low" and "ratio_high". Notes hold the verdict.
    Raises ArgumentError, DeviceUnavailable.
    """
    positive("budget", budget)
    device = opened(device)
    environment = info(device)
    report = reporter(progress)
    total = len(STACKS) * len(STATES)
    shares = Budget(budget, len(STACKS), clock)
    rows: list[Row] = []
    with ExitStack() as context:
        report(Progress(0, total, "starting the loads"))
        loads, missing = start_loads(context, environment.cores)
        for stack in STACKS:
            cases = {name: _case(stack, name) for name in STATES}
            say = partial(_say, report, len(rows), total)
            found = measure_loads(device, cases, loads, shares.next_share(), clock, say) | missing
            for name, case in cases.items():
                rows.append(case.row(found[name]))
                report(Progress(len(rows), total, case.name, rows[-1]))
    alone = (row for row in rows if row.params["beside"] == "alone")  # the loads take the CPU on purpose
    notes = [*judge_loads(rows), _NOTE, *doubt_of(environment, alone)]
    if environment.is_software:
        notes.insert(0, f"The {environment.device} computes on the CPU, and shares its cores with the load.")
    return Result(probe="contention", environment=environment, rows=tuple(rows), notes=tuple(notes))


def _say(report: ProgressCallback, done: int, total: int, doing: str) -> None:
    report(Progress(done, total, doing))


def start_loads(context: ExitStack, cores: int) -> tuple[dict[str, Beside], dict[str, Measured]]:
    """Start a process for each load, and return those that are ready, and what became of the others."""
    starts: dict[str, Callable[[], Beside]] = {"cpu": lambda: cpu_beside(cores), "gpu": gpu_beside}
    loads: dict[str, Beside] = {}
    missing: dict[str, Measured] = {}
    for name, start in starts.items():
        try:
            loads[name] = context.enter_context(start())
        except BesideLost as lost:
            unavailable = Measured("unsupported", f"unavailable: {lost}")
            missing[name] = unavailable if lost.is_missing else Measured("error", str(lost))
    return loads, missing


def _case(stack: ConvStack, state: str) -> Case:
    return StackCase(
        key=f"contention/conv{stack.channels}x{stack.depth}/sp{stack.width}/{state}",
        kernel=stack,
        params={
            "config": f"{stack.name}, {STATES[state]}",
            "beside": state,
            "channels": stack.channels,
            "depth": stack.depth,
        },
    )


def measure_loads(
    device: Device,
    cases: Mapping[str, Case],
    loads: Mapping[str, Beside],
    budget: float,
    clock: Clock,
    say: Callable[[str], None],
) -> dict[str, Measured]:
    """Time one program in rounds: alone, and beside each load. If a load fails, only its row is lost."""
    end = clock() + budget
    turns: dict[str, list[NDArray[np.int64]]] = {name: [] for name in ("alone", *loads)}
    failed: dict[str, Measured] = {}
    try:
        with Loaded(device, cases["alone"], clock) as loaded:
            call_s = max(float(np.median(loaded.run(3))) * 1e-9, 1e-6)
            calls = max(1, min(round(_TURN_S / call_s), _MOST_CALLS))
            for done in range(_ROUNDS):
                if clock() > end and done >= _LEAST_ROUNDS:
                    break
                say(f"{cases['alone'].name}, round {done + 1} of {_ROUNDS}")
                for name in list(turns) if done % 2 else list(reversed(turns)):
                    try:
                        turns[name].append(_turn(loaded, loads.get(name), calls))
                    except BesideLost as lost:
                        failed[name] = Measured("error", str(lost))
                        del turns[name]
            judged = {name: loaded.judge(analyze(np.concatenate(each))) for name, each in turns.items()}
    except REFUSALS as refusal:
        return {name: failed.get(name, refused(refusal)) for name in cases}
    medians = {name: np.array([np.median(turn) for turn in each]) for name, each in turns.items()}
    return failed | {name: _with_ratio(one, medians, name) for name, one in judged.items()}


def _turn(loaded: Loaded, load: Beside | None, calls: int) -> NDArray[np.int64]:
    if load is None:
        return loaded.run(calls)
    load.do(Order(work=True))
    try:
        time.sleep(_SETTLE_S)
        return loaded.run(calls)
    finally:
        load.do(Order())
        time.sleep(_SETTLE_S)


def _with_ratio(measured: Measured, medians: Mapping[str, NDArray[np.float64]], name: str) -> Measured:
    if name == "alone" or measured.status != "ok":
        return measured
    ratios = summarize(np.maximum(medians[name], 1) / np.maximum(medians["alone"], 1))
    return measured.with_ratio(Estimate(ratios.median, ratios.ci_low, ratios.ci_high))


def judge_loads(rows: Sequence[Row]) -> list[str]:
    """Say what each load does to each program, by the intervals of the ratios."""
    said: dict[str, list[str]] = {}
    for row in rows:
        ratio = ratio_in(row)
        if row.status != "ok" or ratio is None:
            continue
        stack = f"{row.params['depth']}x conv {row.params['channels']}ch"
        said.setdefault(STATES[str(row.params["beside"])], []).append(
            f"{stack} {_verdict(ratio)}, {ratio.as_factor()}"
        )
    return [f"{state}: {'; '.join(each)}." for state, each in said.items()]


def _verdict(ratio: Estimate) -> str:
    if ratio.is_above(1 + _NOTABLE):
        return "slower"
    if ratio.is_below(1 - _NOTABLE):
        return "faster"
    if ratio.is_above(1 - _NOTABLE) and ratio.is_below(1 + _NOTABLE):
        return "unchanged"
    return "undecided"
