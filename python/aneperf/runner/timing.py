"""Cases on a device: compiled, timed in turns, and their outputs checked."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from .._ane_native import Device, Program, Request, Surface
from ..errors import REFUSALS
from ..machine import sensors
from ..measure import (
    BATCH_S,
    SETTLED_SPAN_S,
    TURN_S,
    Estimate,
    Sample,
    Watch,
    flags_of,
    measure,
    measure_interleaved,
)
from .case import Case, Judged
from .measured import Measured, Params, refused
from .progress import MINIMUM_SHARE_S
from .turns import TURNS_SPAN_S, in_turns, row_in_turns, turns

Clock = Callable[[], float]


@dataclass(frozen=True)
class Part:
    """This process among the `processes` that measure each row; `to_come` are left, this one included."""

    processes: int = 1
    to_come: int = 1


_part = ContextVar("_part", default=Part())  # noqa: B039  frozen


def part() -> Part:
    """Return the part that is being measured: all of it, unless `measure_as` says otherwise."""
    return _part.get()


@contextmanager
def measure_as(part: Part) -> Iterator[None]:
    """Measure as one of several processes: in a share of the time, shorter where a device is settled."""
    token = _part.set(part)
    try:
        yield
    finally:
        _part.reset(token)


def span_of(device: Device, processes: int) -> float | None:
    """Return the seconds that a row's calls last at least in each process; None if its clocks settle first.

    An engine's settle anew in each process. On a CPU the span holds changes over tenths of a second, and
    several processes hold these together. Beside another side it holds the turns of both.
    """
    if device.info()["kind"] != "ane" and turns() is not None:
        return TURNS_SPAN_S
    return None if device.info()["kind"] == "ane" else SETTLED_SPAN_S / processes


def time_together(device: Device, group: Sequence[Case], share_s: float, clock: Clock) -> list[Measured]:
    """Compile, time and check the cases of a group within `share_s`; two or more are timed in turns."""
    return _time_together(device, group, share_s, clock)[0]


def time_pair(device: Device, pair: Sequence[Case], share_s: float, clock: Clock) -> list[Measured]:
    """Time two cases together, and give the second one the ratio of the first one's time to its own."""
    measured, ratio = _time_together(device, pair, share_s, clock)
    if ratio and all(one.status == "ok" for one in measured):
        measured[-1] = measured[-1].with_ratio(ratio)
    return measured


def _time_together(
    device: Device, group: Sequence[Case], share_s: float, clock: Clock
) -> tuple[list[Measured], Estimate | None]:
    """Return what became of each case, and the ratio of the first one's time to the last one's."""
    start = clock()
    measured: dict[int, Measured] = {}
    loaded: dict[int, Loaded] = {}
    with ExitStack() as stack:
        stack.enter_context(row_in_turns(group[0].key))
        for place, case in enumerate(group):
            try:
                loaded[place] = stack.enter_context(Loaded(device, case, clock))
            except REFUSALS as refusal:
                measured[place] = refused(refusal)
        left_s = max(MINIMUM_SHARE_S, share_s - (clock() - start))
        timed, ratio = _time_loaded(list(loaded.values()), left_s, clock)
        measured.update(zip(loaded, timed, strict=True))
    return [measured[place] for place in range(len(group))], ratio


def _time_loaded(
    loaded: Sequence["Loaded"], budget_s: float, clock: Clock
) -> tuple[list[Measured], Estimate | None]:
    if len(loaded) > 1:
        try:
            return _time_in_turns(loaded, budget_s, clock)
        except REFUSALS:
            budget_s /= len(loaded)  # each alone tells which of them fails
    return [_time_alone(program, budget_s, clock) for program in loaded], None


def _time_alone(loaded: "Loaded", budget_s: float, clock: Clock) -> Measured:
    try:
        batch_s = BATCH_S if turns() is None else TURN_S
        sample = measure(loaded.run, budget_s=budget_s, span_s=loaded.span_s, batch_s=batch_s, clock=clock)
        return loaded.judge(sample)
    except REFUSALS as failure:
        return refused(failure)


def _time_in_turns(
    loaded: Sequence["Loaded"], budget_s: float, clock: Clock
) -> tuple[list[Measured], Estimate]:
    backwards = loaded[::-1]  # ratios are to the first run
    turns = measure_interleaved(
        [one.run for one in backwards], budget_s=budget_s, span_s=loaded[0].span_s, clock=clock
    )
    measured = [one.judge(sample) for one, sample in zip(backwards, turns.samples, strict=True)]
    return measured[::-1], turns.ratios[-1]


class Loaded:
    """A case's program on the device, bound to surfaces that hold its input; a context that unloads it."""

    def __init__(self, device: Device, case: Case, clock: Clock) -> None:
        self._case = case
        built = case.kernel.build()
        start = clock()
        self.program: Program = device.compile(built.text, built.weights, qos=case.qos)
        self._compile_s = clock() - start
        try:
            inputs, outputs = self.program.inputs, self.program.outputs
            self._sources: dict[str, Surface] = {port.name: device.make_surface(port) for port in inputs}
            self._results: dict[str, Surface] = {port.name: device.make_surface(port) for port in outputs}
            for name, array in case.inputs().items():
                self._sources[name].write(array)
            self.request: Request = self.program.bind(self._sources, self._results)
        except BaseException:
            self.program.unload()
            raise
        self._watch = Watch(self.request.time)
        self.run = in_turns(case.key, self._watch)
        self.span_s = span_of(device, part().processes)

    def __enter__(self) -> "Loaded":
        return self

    def __exit__(self, *exception: object) -> None:
        self.program.unload()

    def inputs(self) -> dict[str, NDArray[Any]]:
        """Return the array that each input holds."""
        return {name: surface.read() for name, surface in self._sources.items()}

    def is_wrong(self) -> bool:
        """Tell whether the output of the last call is not what rounding explains."""
        judged = self._judged()
        return not judged.unchecked and not judged.error <= judged.tolerance

    def _judged(self) -> Judged:
        return self._case.judge({name: surface.read() for name, surface in self._results.items()})

    def judge(self, sample: Sample) -> Measured:
        """Check the output that the sample's last call left, and give its rates if it is right."""
        seen = {**self._watch.take(), **sensors()}
        if sample.loaded_s is not None:
            seen["loaded_s"] = sample.loaded_s
        known = [flag for flag in flags_of(seen) if flag not in sample.flags]
        sample = replace(sample, flags=(*sample.flags, *known))
        judged = self._judged()
        if judged.unchecked:
            unchecked: Params = {"output": f"not checked: {judged.unchecked}"}
            return Measured("ok", sample=sample, metrics={**self._metrics(sample), **seen}, params=unchecked)
        error = judged.error
        if not math.isfinite(error):
            return Measured("error", "the output is not finite", sample=sample, metrics=seen)
        if error > judged.tolerance:
            reason = (
                f"wrong output: relative error {error:.2g}, where rounding explains {judged.tolerance:.2g}"
            )
            return Measured("error", reason, sample=sample, error=error, metrics=seen)
        return Measured("ok", sample=sample, error=error, metrics={**self._metrics(sample), **seen})

    def _metrics(self, sample: Sample) -> dict[str, float]:
        times, stats = sample.statistics, self.program.stats
        rates = {"tflops": times.median, "tflops_low": times.ci_high, "tflops_high": times.ci_low}
        parts = {"compile_ms": stats.compile_ns, "load_ms": stats.load_ns}
        retried = stats.retried_evaluations
        return {
            **{name: self._case.kernel.flops / (ms * 1e9) for name, ms in rates.items() if ms},
            "compile_s": self._compile_s,
            "first_ms": float(sample.durations[0]) * 1e-6,
            **{name: part * 1e-6 for name, part in parts.items() if part is not None},
            **({"retried_evaluations": float(retried)} if retried else {}),
        }
