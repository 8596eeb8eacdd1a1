"""What most probes are: kernels measured one after the other, each of them a row."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from .. import mil
from .._ane_native import Device, Program, Request, Surface
from ..device import info, opened
from ..errors import (
    ArgumentError,
    CompileBudgetError,
    CompileError,
    EvaluateError,
    SurfaceError,
)
from ..kernels.conv_stack import ConvStack
from ..measure import Sample, measure
from ..results import MAXIMUM_DURATIONS, Result, Row
from .schedule import Budget, Progress, Step

Clock = Callable[[], float]
Fields = dict[str, Any]  # of a Row

DEFAULT_QOS = 21
NO_TIME = "the time budget was spent: give more seconds"
_NO_COMPILES = (
    "A process has a budget of compiles: measure the skipped rows in a new process, or on a device from "
    "aneperf.open(..., compile_budget=N)."
)
_MINIMUM_SHARE_S = 1e-3
_REFUSALS = (CompileBudgetError, CompileError, EvaluateError, SurfaceError)


class Kernel(Protocol):
    """A program of one input "x" and one output "y", whose weights and reference it makes itself."""

    @property
    def flops(self) -> int:
        """Operations of one evaluation; a multiply-add is two."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, as they are stored."""

    @property
    def tolerance(self) -> float:
        """The largest relative error that the arithmetic explains."""

    def build(self) -> mil.Program:
        """The program."""

    def input(self) -> NDArray[Any]:
        """An array for its input."""

    def check(self, output: NDArray[Any]) -> float:
        """The output's relative error against the reference; infinite if it is not finite."""


@dataclass(frozen=True)
class Case:
    """A kernel and the row that its measurement becomes. `params["config"]` is its name for people.

    `derive` gives further metrics from those of an ok row.
    """

    key: str
    kernel: Kernel
    params: dict[str, int | float | str]
    qos: int = DEFAULT_QOS
    metrics: dict[str, float] = field(default_factory=dict)
    derive: Callable[[dict[str, float]], dict[str, float]] = lambda metrics: {}

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.params["config"])

    def row(self, *, metrics: dict[str, float] | None = None, **fields: Any) -> Row:
        """The row with these fields. An ok row's metrics are derived here."""
        kernel = self.kernel
        known = {"weights_mb": kernel.weight_bytes / 2**20, "gflop": kernel.flops / 1e9, **self.metrics}
        known.update(metrics or {})
        if fields["status"] == "ok":
            known.update(self.derive(known))
        return Row(key=self.key, params=self.params, metrics=known, **fields)


def run_cases(
    probe: str,
    device: Device | str | None,
    cases: Sequence[Case],
    *,
    budget: float,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter,
    notes: Iterable[str] = (),
) -> Result:
    """Measure each case in its share of `budget` seconds. Raises ArgumentError, DeviceUnavailable."""

    def measure_one(device: Device, group: Sequence[Case], share_s: float) -> list[Fields]:
        return [time_kernel(device, group[0], share_s, clock)]

    groups = [[case] for case in cases]
    return run_groups(
        probe, device, groups, measure_one, budget=budget, progress=progress, clock=clock, notes=notes
    )


def run_groups(
    probe: str,
    device: Device | str | None,
    groups: Sequence[Sequence[Case]],
    measure_group: Callable[[Device, Sequence[Case], float], list[Fields]],
    *,
    budget: float,
    progress: Progress | None,
    clock: Clock,
    notes: Iterable[str] = (),
) -> Result:
    """Groups of cases that are measured together: `measure_group` gives the fields of each one's row."""
    total = sum(map(len, groups))
    shares = Budget(budget, len(groups), clock)
    device = opened(device)
    environment = info(device)
    report = progress or (lambda step: None)
    rows: list[Row] = []
    for group in groups:
        report(Step(len(rows), total, group[0].name, rows[-1] if rows else None))
        share_s = shares.next_share()
        if share_s > 0:
            measured = measure_group(device, group, share_s)
        else:
            measured = [{"status": "skipped", "reason": NO_TIME} for _ in group]
        for place, (case, fields) in enumerate(zip(group, measured, strict=True)):
            rows.append(case.row(**fields))
            if place + 1 < len(group):
                report(Step(len(rows), total, case.name, rows[-1]))
    report(Step(total, total, "", rows[-1] if rows else None))
    return Result(
        probe=probe, environment=environment, rows=tuple(rows), notes=(*notes, *compile_notes(rows))
    )


def compile_notes(rows: Iterable[Row]) -> tuple[str, ...]:
    """What to do about rows that were skipped for want of compiles."""
    lacking = any(row.status == "skipped" and row.reason != NO_TIME for row in rows)
    return (_NO_COMPILES,) if lacking else ()


def stack_case(probe: str, stack: ConvStack, config: str | None = None, **options: Any) -> Case:
    """The case of a stack, called by its own name unless by `config`: "peak/conv512x128/sp64/fp32-ports"."""
    spatial = str(stack.width) if stack.height == 1 else f"{stack.height}x{stack.width}"
    return Case(
        key=f"{probe}/conv{stack.channels}x{stack.depth}/sp{spatial}/{stack.port_dtype}-ports",
        kernel=stack,
        params={
            "config": config or stack.name,
            "channels": stack.channels,
            "depth": stack.depth,
            "height": stack.height,
            "width": stack.width,
            "ports": stack.port_dtype,
        },
        **options,
    )


def refuse_repetition(cases: Iterable[Case]) -> None:
    """Raise ArgumentError if two cases would have the same key."""
    if twice := [key for key, count in Counter(case.key for case in cases).items() if count > 1]:
        raise ArgumentError(f"configs holds {twice[0]!r} more than once")


def time_kernel(device: Device, case: Case, share_s: float, clock: Clock) -> Fields:
    """Compile, time and check a kernel within `share_s`: the fields of its row, whatever became of it."""
    start = clock()
    try:
        with Loaded(device, case, clock) as loaded:
            left_s = max(_MINIMUM_SHARE_S, share_s - (clock() - start))
            sample = measure(loaded.request.time, budget_s=left_s, clock=clock)
            return loaded.fields(sample)
    except _REFUSALS as refusal:
        return refused(refusal)


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
            reason = f"wrong output: relative error {error:.2g}, where fp16 explains {kernel.tolerance:.2g}"
            return {**measured, "status": "error", "reason": reason}
        times = sample.statistics
        rates = {"tflops": times.median, "tflops_low": times.ci_high, "tflops_high": times.ci_low}
        metrics = {name: kernel.flops / (ms * 1e9) for name, ms in rates.items() if ms}
        return {**measured, "status": "ok", "metrics": {**metrics, "compile_s": self.compile_s}}


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
