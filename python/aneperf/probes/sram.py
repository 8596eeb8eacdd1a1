"""Memory: the two published scans of single convolutions, with weights of 0.1 to 128 MiB."""

import time
from typing import Literal

import msgspec

from .._ane_native import Device
from ..checks import shown
from ..errors import ArgumentError
from ..kernels.conv_stack import ConvStack
from ..results import Result
from ..runner.case import Case, stack_case
from ..runner.progress import ProgressCallback
from ..runner.rounds import Repeat
from ..runner.run import run_groups
from ..runner.timing import Clock, time_together
from .peak import PORT_NOTES
from .registry import default_budget
from .sram_analysis import STRIDE, analyze_sram

_HALVED = (8192, 32)  # as published: the only row with half the positions
COARSE = (*((channels, 64) for channels in (256, 512, 1024, 2048, 3072, 4096, 5120, 6144)), _HALVED)
FINE = (
    *((channels, 64) for channels in (256, 512, 1024, 1536, 2048, 2560, 3072, 3584)),
    *((channels, 64) for channels in (4096, 4608, 5120, 6144)),
    _HALVED,
)
_CORRECTED = (8192, 64)
_POWERS = ((1024, 64), (2048, 64), (4096, 64), (8192, 64))
_SIDES = (-STRIDE, 0, STRIDE)


def sram(
    device: Device | str | None = None,
    *,
    fine: bool = False,
    budget: float = default_budget("sram"),
    ports: Literal["fp32", "fp16"] = "fp32",
    processes: int = 1,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time single convolutions of 256 to 8192 channels at 64 positions, and look for the memory's limits.

    The sizes are the nine published ones, or thirteen if `fine`; the last of them has 32 positions, and one
    more row has 64. `fine` also measures the neighbors of powers of two, in turns with them: these tell a
    stalled transfer from a capacity. `budget` is in seconds of `clock`, for the whole probe. `processes` are
    as those of `peak`. Keys: "sram/conv4096x1/sp64/fp32-ports". Notes give the findings of
    `aneperf.probes.sram_analysis.analyze_sram(result)`.
    Raises ArgumentError, DeviceUnavailable.
    """
    if type(fine) is not bool:
        raise ArgumentError(f"fine must be True or False, not {shown(fine)}")
    sizes = sorted({*FINE, _CORRECTED} if fine else {*COARSE, _CORRECTED})
    groups = [
        [_case(ConvStack(channels + side, depth=1, width=width, port_dtype=ports)) for side in sides]
        for channels, width in sizes
        for sides in [_SIDES if fine and (channels, width) in _POWERS else (0,)]
    ]
    # Every other size is measured on the way up, the rest on the way down: a machine that slows down then
    # does not look like one whose memory ends.
    groups = groups[::2] + groups[1::2][::-1]

    notes = [
        "GFLOPS/MiB: over the size of weights, as published. Act: MiB of a port in fp16; Tot: of all.",
        PORT_NOTES[ports],
    ]
    result = run_groups(
        "sram",
        device,
        groups,
        time_together,
        budget=budget,
        progress=progress,
        clock=clock,
        notes=notes,
        repeat=Repeat(processes, sram, {"fine": fine, "ports": ports}),
    )
    found = analyze_sram(result)
    return msgspec.structs.replace(
        result,
        rows=tuple(sorted(result.rows, key=lambda row: (row.params["channels"], row.params["width"]))),
        notes=(*(found.lines() if found else ()), *result.notes),
    )


def _case(stack: ConvStack) -> Case:
    activations = 2 * stack.channels * stack.width / 2**20
    weights = stack.weight_bytes / 2**20
    return stack_case(
        "sram",
        stack,
        config=f"{stack.channels}ch x {stack.width}sp",
        metrics={"activations_mib": activations, "total_mib": weights + 2 * activations},
        derive=lambda metrics: {"gflops_per_mib": 1000 * metrics["tflops"] / weights},
    )
