"""Meter the energy of cases: first a known load, which tells what can be read, then a load of each case."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .._ane_native import Device
from ..device import info
from ..errors import REFUSALS, EvaluateError
from ..kernels.conv_stack import ConvStack
from ..measure import BATCH_S, Run
from ..power import Energy, Meter, Poll, PowerError, Unavailable, choose_meter
from ..results import Result, Row
from .case import Case, stack_case
from .progress import Progress, ProgressCallback
from .timing import Clock, Loaded
from .turns import turns

# Compute-bound: a weight is used for 1,024 positions, so that memory takes little and the engine most.
KNOWN_LOAD = ConvStack(channels=512, depth=16, width=1024, port_dtype="fp16")
_FASTEST_CALL_S = 1e-6


def meter_of(device: Device, report: ProgressCallback, clock: Clock = time.perf_counter) -> Meter:
    """Return what meters loads of a device. First nothing runs for some seconds, and then a known load."""
    if turns() is not None:
        return Unavailable("another side is timed in turns, and its power would count too")

    def load(seconds: float, poll: Poll) -> None:
        try:
            keep_busy(device, seconds, poll, clock)
        except REFUSALS as refusal:
            raise PowerError(str(refusal)) from refusal

    report(Progress(0, 1, "energy: the idle machine, then a known load"))
    return choose_meter(device.info()["kind"], load, clock=clock)


def keep_busy(device: Device, seconds: float, poll: Poll, clock: Clock = time.perf_counter) -> None:
    """Run the known load on a device. Raises as a device does, and EvaluateError for a wrong output."""
    case = stack_case("energy", KNOWN_LOAD)
    with Loaded(device, case, clock) as loaded:
        run_for(loaded.run, seconds, poll, clock)
        if loaded.is_wrong():
            raise EvaluateError("[evaluate] the known load's output is wrong")


def known_load(device: Device, *, seconds: float, progress: ProgressCallback) -> Result:
    """Run the known load in a child process, with a report after every batch of calls."""
    keep_busy(device, seconds, lambda: progress(Progress(0, 1, "known load")))
    return Result(probe="energy", environment=info(device), rows=())


def run_for(run: Run, seconds: float, poll: Poll, clock: Clock = time.perf_counter) -> int:
    """Call without pause for some seconds, and return the number of calls."""
    start, calls, count = clock(), 0, 1
    while True:
        typical_s = max(float(np.median(run(count))) * 1e-9, _FASTEST_CALL_S)
        calls += count
        poll()
        if clock() - start >= seconds:
            return calls
        count = max(1, min(round(min(BATCH_S, seconds / 20) / typical_s), 10 * count))


def with_energy(row: Row, energy: Energy) -> Row:
    """Return the row with an energy, and the metrics that follow from it."""
    return msgspec.structs.replace(row, energy=energy, metrics={**row.metrics, **energy.metrics()})


def meter_cases(
    result: Result,
    device: Device,
    cases: Sequence[Case],
    meter: Meter,
    report: ProgressCallback,
    clock: Clock = time.perf_counter,
    *,
    constant_too: bool = False,
) -> Result:
    """Return the result with the energy of each case whose row is ok: it runs again for that.

    Inputs of one value have no energy, unless `constant_too`: their power is what is asked for then.
    """
    by_key = {case.key: case for case in cases}
    rows = []
    for done, row in enumerate(result.rows):
        report(Progress(done, len(result.rows), f"energy of {row.name}"))
        rows.append(
            with_energy(row, _metered(device, by_key[row.key], row, meter, clock, constant_too=constant_too))
            if row.status == "ok"
            else row
        )
    return msgspec.structs.replace(result, rows=tuple(rows))


def _metered(
    device: Device, case: Case, row: Row, meter: Meter, clock: Clock, *, constant_too: bool
) -> Energy:
    if not meter.span_s:
        return meter.energy(0)
    try:
        with Loaded(device, case, clock) as loaded:
            inputs = loaded.inputs()
            if _is_constant(inputs) and not constant_too:
                return Energy(
                    reason="every input holds one value, and the engine takes far less power on these"
                )
            meter.begin()
            calls = run_for(loaded.run, meter.span_s, meter.poll, clock)
            meter.end()
    except REFUSALS as refusal:
        meter.drop()
        return Energy(reason=str(refusal))
    gflop = row.metrics.get("gflop", 0.0)
    return meter.energy(calls, gflop=gflop, zero_share=_zero_share(inputs))


def _is_constant(inputs: Mapping[str, NDArray[Any]]) -> bool:
    return all(array.size == 0 or bool((array == array.flat[0]).all()) for array in inputs.values())


def _zero_share(inputs: Mapping[str, NDArray[Any]]) -> float:
    elements = sum(array.size for array in inputs.values())
    return sum(int(np.count_nonzero(array == 0)) for array in inputs.values()) / elements if elements else 0.0
