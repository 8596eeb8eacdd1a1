"""Peak throughput: deep stacks of 1x1 convolutions, the ten configurations of the published table."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from .._ane_native import Device, Program
from ..device import info, opened
from ..errors import (
    ArgumentError,
    CompileBudgetError,
    CompileError,
    EvaluateError,
    SurfaceError,
)
from ..kernels.conv_stack import PUBLISHED, ConvStack
from ..measure import Sample, measure
from ..results import MAXIMUM_DURATIONS, Result, Row
from .schedule import Budget, Progress, Step

_NOTES = {
    "fp32": "Ports are fp32, cast to and from fp16 inside the program, as in the published table.",
    "fp16": "Ports are fp16, where the published table has fp32 ports and casts.",
}
_NO_TIME = "the time budget was spent: give more seconds"
_NO_COMPILES = (
    "A process has a budget of compiles: measure the skipped rows in a new process, or on a device from "
    "aneperf.open(..., compile_budget=N)."
)
_MINIMUM_SHARE_S = 1e-3


def peak(
    device: Device | str | None = None,
    *,
    budget: float = 30.0,
    configs: Sequence[ConvStack | str] | None = None,
    ports: Literal["fp32", "fp16"] | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Time stacks of convolutions and report TFLOPS; what the last timed call left is checked, in each row.

    `budget` is in seconds of `clock`, for the whole probe. `configs` are stacks or names of published ones
    ("128x conv 512ch sp64"), and default to the published ten; `ports` defaults to each one's own dtype. A
    configuration that the device refuses, or whose output is not that of a float64 reference, is a row with
    the reason, and the probe goes on.
    Raises ArgumentError, DeviceUnavailable.
    """
    stacks = list(PUBLISHED) if configs is None else _stacks(configs)
    if ports is not None:
        stacks = [replace(stack, port_dtype=ports) for stack in stacks]
    if not stacks:
        raise ArgumentError("configs is empty: give at least one ConvStack")
    if twice := [key for key, count in Counter(map(_key, stacks)).items() if count > 1]:
        raise ArgumentError(f"configs holds {twice[0]!r} more than once")
    shares = Budget(budget, len(stacks), clock)
    device = opened(device)
    environment = info(device)
    report = progress or (lambda step: None)
    rows: list[Row] = []
    for index, stack in enumerate(stacks):
        report(Step(index, len(stacks), stack.name, rows[-1] if rows else None))
        share = shares.next_share()
        if share > 0:
            rows.append(_measure(device, stack, share, clock))
        else:
            rows.append(_row(stack, status="skipped", reason=_NO_TIME))
    report(Step(len(stacks), len(stacks), "", rows[-1] if rows else None))
    notes = [note for ports, note in _NOTES.items() if any(stack.port_dtype == ports for stack in stacks)]
    if any(row.status == "skipped" and row.reason != _NO_TIME for row in rows):
        notes.append(_NO_COMPILES)
    return Result(probe="peak", environment=environment, rows=tuple(rows), notes=tuple(notes))


def tolerance(stack: ConvStack) -> float:
    """The largest relative error, in the norm of a column, that fp16 rounding explains.

    A layer rounds its output to fp16, with a relative error of at most u = 2**-11 per value and about 0.4 u
    in the norm. Weights of variance 1/channels keep the norm of a signal and of an earlier error alike, so
    independent errors add up to 0.4 u sqrt(depth). Ten times that leaves room for engines that also round
    partial sums, and for the spread of random matrices' gain. One wrong layer gives an error near 1.
    """
    return 4 * 2.0**-11 * math.sqrt(stack.depth)


def _stacks(configs: Iterable[ConvStack | str]) -> list[ConvStack]:
    """The stacks that are meant: themselves, or the published ones of a name."""
    if isinstance(configs, str) or not isinstance(configs, Iterable):
        raise ArgumentError(f"configs must be a list of ConvStacks or names, not {configs!r}")
    return [config if isinstance(config, ConvStack) else _published(config) for config in configs]


def _published(name: str) -> ConvStack:
    named = {stack.name: stack for stack in PUBLISHED}
    if not isinstance(name, str) or name not in named:
        raise ArgumentError(f"no configuration is called {name!r}: choose from {', '.join(named)}")
    return named[name]


def _measure(device: Device, stack: ConvStack, share_s: float, clock: Callable[[], float]) -> Row:
    start = clock()
    try:
        built = stack.build()
        compile_start = clock()
        program = device.compile(built.text, built.weights)
        compile_s = clock() - compile_start
        try:
            left_s = max(_MINIMUM_SHARE_S, share_s - (clock() - start))
            sample, error = _time_and_check(device, program, stack, left_s, clock)
        finally:
            program.unload()
    except CompileBudgetError as refusal:
        return _row(stack, status="skipped", reason=str(refusal))
    except CompileError as refusal:
        return _row(stack, status="unsupported", reason=str(refusal))
    except (EvaluateError, SurfaceError) as failure:
        return _row(stack, status="error", reason=str(failure))
    return _timed_row(stack, sample, error, compile_s)


def _time_and_check(
    device: Device, program: Program, stack: ConvStack, budget_s: float, clock: Callable[[], float]
) -> tuple[Sample, float]:
    (input_port,), (output_port,) = program.inputs, program.outputs
    source, result = device.make_surface(input_port), device.make_surface(output_port)
    source.write(stack.input())
    request = program.bind({input_port.name: source}, {output_port.name: result})
    sample = measure(request.time, budget_s=budget_s, clock=clock)
    return sample, stack.check(result.read())


def _timed_row(stack: ConvStack, sample: Sample, error: float, compile_s: float) -> Row:
    times = sample.statistics
    measured: dict[str, Any] = {
        "unit": "ms",
        "n": times.n,
        "warm_up": sample.warm_up,
        "median": times.median,
        "mean": times.mean,
        "p05": times.p05,
        "p95": times.p95,
        "ci_low": times.ci_low,
        "ci_high": times.ci_high,
        "published_mean": sample.published_mean,
        "flags": sample.flags,
        "durations_ns": tuple(sample.durations[:MAXIMUM_DURATIONS].tolist()),
    }
    if not math.isfinite(error):
        return _row(stack, status="error", reason="the output is not finite", **measured)
    measured["error"] = error
    if error > tolerance(stack):
        reason = f"wrong output: relative error {error:.2g}, where fp16 explains {tolerance(stack):.2g}"
        return _row(stack, status="error", reason=reason, **measured)
    rates = {"tflops": times.median, "tflops_low": times.ci_high, "tflops_high": times.ci_low}
    metrics = {name: stack.flops / (ms * 1e9) for name, ms in rates.items() if ms}
    return _row(stack, status="ok", metrics={**metrics, "compile_s": compile_s}, **measured)


def _key(stack: ConvStack) -> str:
    spatial = str(stack.width) if stack.height == 1 else f"{stack.height}x{stack.width}"
    return f"peak/conv{stack.channels}x{stack.depth}/sp{spatial}/{stack.port_dtype}-ports"


def _row(stack: ConvStack, *, metrics: dict[str, float] | None = None, **fields: Any) -> Row:
    return Row(
        key=_key(stack),
        params={
            "config": stack.name,
            "channels": stack.channels,
            "depth": stack.depth,
            "height": stack.height,
            "width": stack.width,
            "ports": stack.port_dtype,
        },
        metrics={"weights_mb": stack.weight_bytes / 2**20, "gflop": stack.flops / 1e9, **(metrics or {})},
        **fields,
    )
