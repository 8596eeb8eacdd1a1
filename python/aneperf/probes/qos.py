"""Quality of service: which values the device accepts, and whether they change latency."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import msgspec

from .._ane_native import Device
from ..device import opened
from ..errors import REFUSALS, ArgumentError
from ..kernels.conv_stack import ConvStack
from ..measure import Estimate, measure_interleaved
from ..results import Result, Row
from ..runner.case import DEFAULT_QOS, Case, StackCase
from ..runner.measured import Measured, refused
from ..runner.progress import MINIMUM_SHARE_S, ProgressCallback
from ..runner.rounds import Repeat
from ..runner.run import run_groups
from ..runner.timing import Clock, Loaded, time_together
from .registry import default_budget

LARGEST = 63
# The framework's names; other values have none.
NAMES = {
    0: "real time",
    9: "background",
    17: "utility",
    21: "default",
    25: "user initiated",
    33: "user interactive",
}
_NOTABLE = 0.05  # of the default's latency
_NOTE = (
    f"Ratio: time over that at QoS {DEFAULT_QOS}, timed in turns, ± the larger half of its 95 % interval. "
    "First call, compile and load are in ms."
)


def qos(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("qos"),
    values: Sequence[int] = range(LARGEST + 1),
    processes: int = 1,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time one convolution, 256 channels at 64 positions, at each QoS value of 0..63.

    Each is timed in turns with one at the default value, 21. `budget` is in seconds of `clock`, for the whole
    probe. `processes` are as those of `peak`. A value that the device refuses is an unsupported row. Each
    value takes a compile; a process of the engine has about 100. Keys: "qos/21/conv256x1/sp64". Metrics:
    "ratio", "ratio_low" and "ratio_high", the time over that at the default; "first_ms", of the first call;
    "compile_ms" and "load_ms", if reported.
    Raises ArgumentError, DeviceUnavailable.
    """
    values = list(values)
    wrong = [value for value in values if type(value) is not int or not 0 <= value <= LARGEST]
    if wrong or not values or len(set(values)) < len(values):
        raise ArgumentError(f"values must be different integers in 0..{LARGEST}, not {wrong or values}")
    device = opened(device)
    with ExitStack() as stack:
        base: list[Loaded] = []

        def measure_one(
            device: Device, group: Sequence[Case], share_s: float, clock: Clock
        ) -> list[Measured]:
            if not base:  # loaded in the first value's time; if refused, each value gives its own reason
                with suppress(*REFUSALS):
                    base.append(stack.enter_context(Loaded(device, _case(DEFAULT_QOS), clock)))
            if not base:
                return time_together(device, group, share_s, clock)
            return [_time_against(base[0], device, group[0], share_s, clock)]

        groups = [[_case(value)] for value in values]
        result = run_groups(
            "qos",
            device,
            groups,
            measure_one,
            budget=budget,
            progress=progress,
            clock=clock,
            notes=[_NOTE],
            repeat=Repeat(processes, qos, {"values": values}),
        )
    return msgspec.structs.replace(result, notes=(*_verdict(result.rows), *result.notes))


def _case(value: int) -> Case:
    name = f"QoS {value} {NAMES.get(value, '')}".rstrip()
    stack = ConvStack(channels=256, depth=1, port_dtype="fp16")
    return StackCase(
        key=f"qos/{value}/conv{stack.channels}x{stack.depth}/sp{stack.width}",
        kernel=stack,
        params={"config": name, "qos": value},
        qos=value,
    )


def _time_against(base: Loaded, device: Device, case: Case, share_s: float, clock: Clock) -> Measured:
    start = clock()
    try:
        with Loaded(device, case, clock) as loaded:
            turns = measure_interleaved(
                [base.run, loaded.run],
                budget_s=max(MINIMUM_SHARE_S, share_s - (clock() - start)),
                span_s=loaded.span_s,
                clock=clock,
            )
            measured = loaded.judge(turns.samples[1])
    except REFUSALS as refusal:
        return refused(refusal)
    return measured.with_ratio(turns.ratios[1]) if measured.status == "ok" else measured


def _verdict(rows: Sequence[Row]) -> list[str]:
    """Name the values whose whole interval differs by more than `_NOTABLE`."""
    ratios = {
        str(row.params["qos"]): (row.metrics["ratio_low"], row.metrics["ratio_high"], row.metrics["ratio"])
        for row in rows
        if row.status == "ok" and "ratio_low" in row.metrics and row.params["qos"] != DEFAULT_QOS
    }
    if not ratios:
        return []
    apart = [
        f"{value} ({Estimate(ratio, low, high).as_factor()})"
        for value, (low, high, ratio) in ratios.items()
        if low > 1 + _NOTABLE or high < 1 - _NOTABLE
    ]
    if apart:
        return [f"Intervals that lie {_NOTABLE:.0%} or more from QoS {DEFAULT_QOS}: {', '.join(apart)}."]
    return [f"No effect found: no interval, of {len(ratios)}, lies {_NOTABLE:.0%} from QoS {DEFAULT_QOS}."]
