"""Quality of service: which values the device takes, and whether they change the latency."""

import time
from collections.abc import Sequence

import msgspec

from .._ane_native import Device
from ..errors import ArgumentError
from ..kernels.conv_stack import ConvStack
from ..results import Result, Row
from .case import DEFAULT_QOS, Case
from .run import run_cases
from .schedule import Progress
from .timing import Clock

LARGEST = 63
# What the framework calls them; all others are unnamed.
NAMES = {
    0: "real time",
    9: "background",
    17: "utility",
    21: "default",
    25: "user initiated",
    33: "user interactive",
}
_NOTABLE = 0.05  # of the default's latency


def qos(
    device: Device | str | None = None,
    *,
    budget: float = 30.0,
    values: Sequence[int] = range(LARGEST + 1),
    progress: Progress | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Compile, load and time one convolution, 256 channels at 64 positions, at each value of 0..63.

    `budget` is in seconds of `clock`, for the whole probe. A value that the device refuses is an unsupported
    row. A value costs a compile: a process of the engine has about 100. Keys: "qos/21/conv256x1/sp64".
    Metrics: "compile_s", which includes loading; "first_ms", the first call's time.
    Raises ArgumentError, DeviceUnavailable.
    """
    values = list(values)
    wrong = [value for value in values if type(value) is not int or not 0 <= value <= LARGEST]
    if wrong or not values or len(set(values)) < len(values):
        raise ArgumentError(f"values must be different integers in 0..{LARGEST}, not {wrong or values}")
    stack = ConvStack(channels=256, depth=1, port_dtype="fp16")
    cases = [_case(stack, value) for value in values]
    result = run_cases("qos", device, cases, budget=budget, progress=progress, clock=clock)
    return msgspec.structs.replace(result, notes=(*_verdict(result.rows), *result.notes))


def _case(stack: ConvStack, value: int) -> Case:
    name = f"QoS {value}" + (f" ({NAMES[value]})" if value in NAMES else "")
    return Case(
        key=f"qos/{value}/conv{stack.channels}x{stack.depth}/sp{stack.width}",
        kernel=stack,
        params={"config": name, "qos": value},
        qos=value,
    )


def _verdict(rows: Sequence[Row]) -> list[str]:
    ok = [row for row in rows if row.status == "ok" and row.ci_low is not None and row.median]
    base = next((row for row in ok if row.params["qos"] == DEFAULT_QOS), None)
    if base is None or len(ok) < 2:
        return []
    apart = [row for row in ok if _differs(row, base)]
    if not apart:
        return [
            f"None of {len(ok) - 1} values differs from QoS {DEFAULT_QOS} by more than {_NOTABLE:.0%} and "
            "beyond both intervals."
        ]
    factors = [f"{row.params['qos']} ({row.median / base.median:.2f}x)" for row in apart]  # type: ignore[operator]
    return [
        f"Times that differ from QoS {DEFAULT_QOS} by more than {_NOTABLE:.0%} and beyond both intervals: "
        f"{', '.join(factors)}. Values were measured one after the other, so that what else the machine did "
        "differs too: repeat it before you believe it."
    ]


def _differs(row: Row, base: Row) -> bool:
    assert row.median is not None
    assert base.median is not None
    far = abs(row.median - base.median) > _NOTABLE * base.median
    meet = row.ci_low <= base.ci_high and base.ci_low <= row.ci_high  # type: ignore[operator]
    return far and not meet
