"""Counters: what the device reports of its own work. A counter that cannot be read has no number."""

import time

import numpy as np

from .. import mil
from .._ane_native import Device
from ..checks import positive
from ..device import info, opened
from ..errors import REFUSALS
from ..results import Result, Row
from ..runner.measured import Measured, refused
from ..runner.progress import Progress, ProgressCallback, reporter
from .registry import default_budget

_SHAPE = (1, 64, 1, 64)
_UNKNOWN = "the device does not report it"
_STATS = {
    "weight_bytes": ("weights as the device keeps them", "bytes"),
    "activation_bytes": ("activations at their peak", "bytes"),
    "operations": ("operations of an evaluation", "operations"),
    "compile_ns": ("time of the compile", "ns"),
    "load_ns": ("time of the load", "ns"),
    "retried_evaluations": ("evaluations that the system canceled and that ran again", "evaluations"),
}
_TICKS = 1000


def counters(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("counters"),
    progress: ProgressCallback | None = None,
) -> Result:
    """Read every counter and statistic that the device reports for an evaluation of a small program.

    A row's metrics hold the "value", in the unit in params; a row without a value is unsupported, with the
    reason. `budget`, in seconds, covers one compile and a few evaluations. Keys: "counters/queue depth".
    Raises ArgumentError, DeviceUnavailable.
    """
    positive("budget", budget)
    device = opened(device)
    report = reporter(progress)
    report(Progress(0, 1, "reading"))
    rows = [_clock()]
    try:
        rows += _read(device)
    except REFUSALS as refusal:
        rows.append(refused(refusal).row("counters/program", {"config": "program"}))
    for done, row in enumerate(rows):
        report(Progress(done + 1, len(rows), "", row))
    return Result(probe="counters", environment=info(device), rows=tuple(rows))


def _read(device: Device) -> list[Row]:
    weight = np.random.default_rng(0).standard_normal((64, 64, 1, 1)) / 8
    b = mil.Builder()
    b.output("y", mil.conv(b.input("x", _SHAPE), weight))
    with b.build().compile(device) as program:
        source, result = device.make_surface(program.inputs[0]), device.make_surface(program.outputs[0])
        source.write(np.ones(_SHAPE, np.float16))
        rows = [
            _row(name, unit, getattr(program.stats, attribute), _UNKNOWN)
            for attribute, (name, unit) in _STATS.items()
        ]
        found = program.counters({"x": source}, {"y": result})
        return rows + [_row(one.name, one.unit, one.value, one.reason) for one in found]


def _clock() -> Row:
    """Return the smallest step seen of the clock that times everything here."""
    steps = np.diff([time.perf_counter_ns() for _ in range(_TICKS)])
    seen = steps[steps > 0]
    return _row("step of the host's clock", "ns", int(seen.min()) if seen.size else None, "it did not move")


def _row(name: str, unit: str, value: int | None, reason: str) -> Row:
    measured = Measured("unsupported", f"unavailable: {reason}")
    if value is not None:
        measured = Measured("ok", metrics={"value": value})
    return measured.row(f"counters/{name}", {"config": name, "in": unit or "-"})
