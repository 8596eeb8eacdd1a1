"""Latency: the published in-memory benchmark, single 1x1 convolutions of growing width."""

import time
from typing import Literal

from .._ane_native import Device
from ..kernels.conv_stack import ConvStack
from ..results import Result
from ..runner.case import stack_case
from ..runner.progress import ProgressCallback
from ..runner.rounds import Repeat
from ..runner.run import run_cases
from ..runner.timing import Clock
from .peak import PORT_NOTES
from .registry import default_budget

CHANNELS = (256, 512, 1024, 2048, 3072, 4096)


def latency(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("latency"),
    ports: Literal["fp32", "fp16"] = "fp32",
    processes: int = 1,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time single convolutions of 256 to 4096 channels at 64 positions, as published.

    `budget` is in seconds of `clock`, for the whole probe. `processes` are as those of `peak`. Keys:
    "latency/conv256x1/sp64/fp32-ports".
    Raises ArgumentError, DeviceUnavailable.
    """
    stacks = [ConvStack(channels, depth=1, port_dtype=ports) for channels in CHANNELS]
    cases = [stack_case("latency", stack, config=f"{stack.channels}ch x {stack.width}sp") for stack in stacks]
    return run_cases(
        "latency",
        device,
        cases,
        budget=budget,
        progress=progress,
        clock=clock,
        notes=[PORT_NOTES[ports]],
        repeat=Repeat(processes, latency, {"ports": ports}),
    )
