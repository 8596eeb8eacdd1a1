"""Dispatch floor: the time that every call takes, however little it computes."""

import time
from collections.abc import Sequence

import msgspec

from .._ane_native import Device
from ..kernels.conv_stack import ConvStack
from ..measure import Estimate
from ..measure.line import fit_line
from ..results import Result, Row
from ..runner.case import stack_case
from ..runner.measured import Measured, Params
from ..runner.progress import ProgressCallback
from ..runner.rounds import Repeat
from ..runner.run import run_groups
from ..runner.timing import Clock, time_together
from .registry import default_budget

CHANNELS, POSITIONS = 64, 32  # of the smallest kernel in the published tables
DEPTHS = (1, 2, 4, 8, 16, 32)
_LEAST = 3  # kernels: two always lie on a line
_KEY = "dispatch/intercept"
_PARAMS: Params = {"config": "intercept", "depth": 0}


def dispatch(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("dispatch"),
    processes: int = 1,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Measure the dispatch floor, by the smallest kernel and by a line through the times of larger ones.

    Stacks of 1 to 32 convolutions, 64 channels at 32 positions, are timed in turns; the line's value at no
    work is the floor. `budget` is in seconds of `clock`, for the whole probe. `processes` are as those of
    `peak`. Keys: "dispatch/conv64x1/sp32/fp16-ports" is the smallest kernel. "dispatch/intercept" is the
    line's intercept; its metrics hold the slope, "ms_per_layer", and its interval. A negative intercept is an
    unsupported row. Notes say whether the two floors agree.
    Raises ArgumentError, DeviceUnavailable.
    """
    stacks = [ConvStack(CHANNELS, depth, width=POSITIONS, port_dtype="fp16") for depth in DEPTHS]
    cases = [stack_case("dispatch", stack) for stack in stacks]

    result = run_groups(
        "dispatch",
        device,
        [cases],
        time_together,
        budget=budget,
        progress=progress,
        clock=clock,
        repeat=Repeat(processes, dispatch, {}),
    )
    row, notes = _conclude(result.rows)
    return msgspec.structs.replace(result, rows=(*result.rows, row), notes=(*notes, *result.notes))


def _conclude(rows: Sequence[Row]) -> tuple[Row, list[str]]:
    """Return the row of the intercept, and notes on both floors."""
    smallest, *others = rows
    ok = [row for row in others if row.status == "ok" and row.median]
    if len(ok) < _LEAST:
        reason = f"a line needs {_LEAST} kernels besides the smallest, and {len(ok)} were measured"
        return Measured("skipped", reason).row(_KEY, _PARAMS), []
    line = fit_line([row.params["depth"] for row in ok], [row.median or 0.0 for row in ok])
    floor, slope = line.intercept, line.slope
    if floor.value <= 0:
        reason = f"the intercept is {floor.value:.2g} ms: time is no straight line over this work"
        return Measured("unsupported", reason).row(_KEY, _PARAMS), []
    bounds = {
        "ms_per_layer": slope.value,
        "ms_per_layer_low": slope.ci_low,
        "ms_per_layer_high": slope.ci_high,
    }
    row = Row(
        key=_KEY,
        params=_PARAMS,
        status="ok",
        unit="ms",
        median=floor.value,
        ci_low=max(0.0, floor.ci_low or 0.0),
        ci_high=floor.ci_high,
        metrics={name: value for name, value in bounds.items() if value is not None},
    )
    return row, [
        *_comparison(smallest, floor, slope),
        "Intercept: of the line through the other kernels' times.",
    ]


def _comparison(smallest: Row, floor: Estimate, slope: Estimate) -> list[str]:
    if smallest.status != "ok" or not smallest.median or floor.ci_low is None or floor.ci_high is None:
        return []
    # The smallest kernel has one layer, and the intercept none.
    above = smallest.median - slope.value
    meet = (smallest.ci_low or above) - slope.value <= floor.ci_high
    meet &= floor.ci_low <= (smallest.ci_high or above) - slope.value
    verdict = "they agree" if meet else "they do not agree: time is no straight line over this work"
    bounds = f"[{max(0.0, floor.ci_low):.4g}, {floor.ci_high:.4g}]"
    return [
        f"Dispatch floor: {smallest.median:.4g} ms for the smallest kernel, {above:.4g} ms less its layer; "
        f"{floor.value:.4g} ms {bounds} by a line through the others: {verdict}."
    ]
