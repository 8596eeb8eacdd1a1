"""A kernel on a device: compiled, timed and checked; what became of it, as the fields of a row."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from .._ane_native import Device, Program, Request, Surface
from ..errors import REFUSALS, CompileBudgetError, CompileError
from ..measure import Estimate, Sample, measure, measure_interleaved
from ..results import MAXIMUM_DURATIONS
from .case import Case

Clock = Callable[[], float]
Fields = dict[str, Any]  # of a Row

MINIMUM_SHARE_S = 1e-3


def time_kernel(device: Device, case: Case, share_s: float, clock: Clock) -> Fields:
    """Compile, time and check a kernel within `share_s`: the fields of its row, whatever became of it."""
    start = clock()
    try:
        with Loaded(device, case, clock) as loaded:
            return _alone(loaded, max(MINIMUM_SHARE_S, share_s - (clock() - start)), clock)
    except REFUSALS as refusal:
        return refused(refusal)


def _alone(loaded: "Loaded", budget_s: float, clock: Clock) -> Fields:
    try:
        return loaded.fields(measure(loaded.request.time, budget_s=budget_s, clock=clock))
    except REFUSALS as failure:
        return refused(failure)


def time_pair(device: Device, pair: Sequence[Case], share_s: float, clock: Clock) -> list[Fields]:
    """As `time_together`, for two cases.

    The second row's metrics "ratio", "ratio_low" and "ratio_high" are the first one's time over its own,
    with the 95 % interval.
    """
    found, ratio = _time_together(device, pair, share_s, clock)
    if ratio and all(fields["status"] == "ok" for fields in found):
        found[-1]["metrics"] |= ratio_metrics(ratio)
    return found


def ratio_metrics(ratio: Estimate) -> dict[str, float]:
    """The metrics "ratio", "ratio_low" and "ratio_high", those that are known."""
    bounds = {"ratio": ratio.value, "ratio_low": ratio.ci_low, "ratio_high": ratio.ci_high}
    return {name: bound for name, bound in bounds.items() if bound is not None}


def time_together(device: Device, group: Sequence[Case], share_s: float, clock: Clock) -> list[Fields]:
    """As `time_kernel`, for kernels that are compared: they are all loaded, and timed in turns."""
    return _time_together(device, group, share_s, clock)[0]


def _time_together(
    device: Device, group: Sequence[Case], share_s: float, clock: Clock
) -> tuple[list[Fields], Estimate | None]:
    start = clock()
    found: list[Fields] = [{} for _ in group]
    loaded: list[tuple[Fields, Loaded]] = []
    with ExitStack() as stack:
        for case, fields in zip(group, found, strict=True):
            try:
                loaded.append((fields, stack.enter_context(Loaded(device, case, clock))))
            except REFUSALS as refusal:
                fields.update(refused(refusal))
        left_s = max(MINIMUM_SHARE_S, share_s - (clock() - start))
        if len(loaded) > 1:
            try:
                return found, _in_turns(loaded, left_s, clock)
            except REFUSALS:
                left_s /= len(loaded)  # each alone tells which of them fails
        for fields, program in loaded:
            fields.update(_alone(program, left_s, clock))
    return found, None


def _in_turns(loaded: Sequence[tuple[Fields, "Loaded"]], budget_s: float, clock: Clock) -> Estimate:
    """Fill in the fields; the ratio of the first one's time to the last one's."""
    runs = [program.request.time for _, program in reversed(loaded)]  # ratios are to the first run
    turns = measure_interleaved(runs, budget_s=budget_s, clock=clock)
    for (fields, program), sample in zip(reversed(loaded), turns.samples, strict=True):
        fields.update(program.fields(sample))
    return turns.ratios[-1]


class Loaded:
    """A case's program on the device, bound to surfaces that hold its input. Unloads when it is left."""

    def __init__(self, device: Device, case: Case, clock: Clock) -> None:
        self._case = case
        built = case.kernel.build()
        start = clock()
        self._program: Program = device.compile(built.text, built.weights, qos=case.qos)
        self.compile_s = clock() - start
        try:
            (input_port,), (output_port,) = self._program.inputs, self._program.outputs
            source: Surface = device.make_surface(input_port)
            self._result: Surface = device.make_surface(output_port)
            source.write(case.kernel.input())
            self.request: Request = self._program.bind(
                {input_port.name: source}, {output_port.name: self._result}
            )
        except BaseException:
            self._program.unload()
            raise

    def __enter__(self) -> "Loaded":
        return self

    def __exit__(self, *exception: object) -> None:
        self._program.unload()

    def fields(self, sample: Sample) -> Fields:
        """The fields of a sample's row, once what its last call left is checked."""
        kernel = self._case.kernel
        error = kernel.check(self._result.read())
        measured = sample_fields(sample)
        if not math.isfinite(error):
            return {**measured, "status": "error", "reason": "the output is not finite"}
        measured["error"] = error
        if error > kernel.tolerance:
            reason = (
                f"wrong output: relative error {error:.2g}, where rounding explains {kernel.tolerance:.2g}"
            )
            return {**measured, "status": "error", "reason": reason}
        times = sample.statistics
        rates = {"tflops": times.median, "tflops_low": times.ci_high, "tflops_high": times.ci_low}
        metrics = {name: kernel.flops / (ms * 1e9) for name, ms in rates.items() if ms}
        metrics |= {"compile_s": self.compile_s, "first_ms": float(sample.durations[0]) * 1e-6}
        stats = self._program.stats
        parts = {"compile_ms": stats.compile_ns, "load_ms": stats.load_ns}
        metrics |= {name: part * 1e-6 for name, part in parts.items() if part is not None}
        return {**measured, "status": "ok", "metrics": metrics}


def sample_fields(sample: Sample) -> Fields:
    """What a row says of its calls."""
    times = sample.statistics
    return {
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


def refused(refusal: Exception) -> Fields:
    """The fields of a row that could not be measured."""
    if isinstance(refusal, CompileBudgetError):
        return {"status": "skipped", "reason": str(refusal)}
    if isinstance(refusal, CompileError):
        return {"status": "unsupported", "reason": str(refusal)}
    return {"status": "error", "reason": str(refusal)}
