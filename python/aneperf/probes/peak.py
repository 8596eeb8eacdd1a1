"""Peak throughput: the ten published configurations, deep stacks of 1x1 convolutions."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from .._ane_native import Device
from ..checks import choice, shown
from ..chips import find_chip
from ..chips.parameters import parameters_of
from ..errors import ArgumentError
from ..kernels.conv_stack import PUBLISHED, ConvStack
from ..prediction.notes import chip_notes
from ..prediction.stack import predict_stack, predicted_metrics
from ..results import Result
from ..runner.case import Case, refuse_repetition, stack_case
from ..runner.progress import ProgressCallback
from ..runner.rounds import Repeat
from ..runner.run import run_cases
from ..runner.timing import Clock
from .registry import default_budget

PORT_NOTES = {
    "fp32": "Ports are fp32, cast to and from fp16 inside the program, as in the published table.",
    "fp16": "Ports are fp16, where the published table has fp32 ports and casts.",
}


def peak(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("peak"),
    configs: Sequence[ConvStack | str] | None = None,
    ports: Literal["fp32", "fp16"] | None = None,
    predict: str | None = None,
    processes: int = 1,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
) -> Result:
    """Time stacks of convolutions and report TFLOPS; the output of the last timed call is checked.

    `budget` is in seconds of `clock`, for the whole probe. With `processes`, up to that many fresh processes
    measure each row, as the budget allows; 1 measures in this one. `configs` are stacks, or names of
    published ones ("128x conv 512ch sp64"); by default the ten published ones. `ports` replaces their data
    type. `predict` is a chip, such as "M4 Max", whose predicted times the rows get as metrics. A
    configuration that the device refuses, or whose output differs from a float64 reference, is a row with the
    reason. Keys: "peak/conv512x128/sp64/fp32-ports".
    Raises ArgumentError, DeviceUnavailable.
    """
    stacks = list(PUBLISHED) if configs is None else _stacks(configs)
    if not stacks:
        raise ArgumentError("configs is empty: give at least one ConvStack")
    if ports is not None:
        stacks = [replace(stack, port_dtype=ports) for stack in stacks]
    chip = None if predict is None else find_chip(predict).name
    cases = [stack_case("peak", stack) for stack in stacks]
    if chip is not None:
        cases = [_with_prediction(case, stack, chip) for case, stack in zip(cases, stacks, strict=True)]
    refuse_repetition(cases)
    dtypes = {stack.port_dtype for stack in stacks}
    notes = [note for dtype, note in PORT_NOTES.items() if dtype in dtypes]
    if chip is not None:
        notes.append(
            f"Predicted: the time of a call on {chip} in ms, by aneperf predict. It is not measured, and the "
            "interval should hold 90 % of measured times."
        )
        notes += chip_notes(parameters_of(chip))
    return run_cases(
        "peak",
        device,
        cases,
        budget=budget,
        progress=progress,
        clock=clock,
        notes=notes,
        repeat=Repeat(processes, peak, {"configs": stacks, "predict": chip}),
    )


def _with_prediction(case: Case, stack: ConvStack, chip: str) -> Case:
    """Return a case whose row gets the time that is predicted on a chip."""
    metrics = {**case.metrics, **predicted_metrics(predict_stack(stack, chip))}
    return replace(case, params={**case.params, "predicted_chip": chip}, metrics=metrics)


def _stacks(configs: Iterable[ConvStack | str]) -> list[ConvStack]:
    """Return the stacks: those given, or the published ones of a name."""
    if isinstance(configs, str) or not isinstance(configs, Iterable):
        raise ArgumentError(f"configs must be a list of ConvStacks or names, not {shown(configs)}")
    return [config if isinstance(config, ConvStack) else _published(config) for config in configs]


def _published(name: str) -> ConvStack:
    named = {stack.name: stack for stack in PUBLISHED}
    return named[choice("configuration", name, named)]
