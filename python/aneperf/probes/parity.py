"""Parity: the precision of each operation and kernel family, against float64."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from .._ane_native import Device
from ..kernels.config import TransformerConfig, parameter_shapes
from ..kernels.conv_stack import ConvStack
from ..kernels.quantized_stack import QuantizedStack
from ..kernels.schedule import ScheduledKernel, schedule
from ..results import Result
from ..runner.case import StackKernel
from ..runner.operations import CASES
from ..runner.progress import ProgressCallback
from ..runner.question import Question, ask_all, ask_in_children, chosen, question_of
from .registry import default_budget

_DRAWS = 4  # draws of inputs: some 16,000 results judge an operation

# For a chain of roundings with a softmax or a sigmoid: twice what aneforge allows decomposed attention.
_CHAIN = 0.01
_MODEL = TransformerConfig(dim=64, hidden=128, layers=1, heads=4, kv_heads=2, head_dim=16, vocab=256, seq=64)


def _stack(stack: StackKernel) -> Question:
    return question_of(stack.build(), [{"x": stack.input()}], stack.tolerance)


def _transformer(kernel: ScheduledKernel) -> Question:
    random, model = np.random.default_rng(0), _MODEL
    parameters = {
        name: random.standard_normal(shape) / np.sqrt(shape[-1])
        for name, shape in parameter_shapes(model).items()
    }
    built = kernel.build(model, parameters)
    x = random.standard_normal((1, sum(built.inputs.values()), 1, model.seq)).astype(np.float16)
    return question_of(built.program, [{"x": x}], _CHAIN)


FAMILIES: dict[str, Callable[[], Question]] = {
    "conv_stack": lambda: _stack(ConvStack(channels=64, depth=8, port_dtype="fp16")),
    "conv_stack, fp32 ports": lambda: _stack(ConvStack(channels=64, depth=8)),
    "quantized_stack": lambda: _stack(QuantizedStack(channels=64, depth=8)),
    **{
        kernel.name.removeprefix("layers.0."): partial(_transformer, kernel)
        for kernel in schedule(_MODEL, "static-ane")
    },
}
ITEMS = (*(f"op/{name}" for name in CASES), *(f"kernel/{name}" for name in FAMILIES))


def parity(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("parity"),
    items: Sequence[str] | None = None,
    progress: ProgressCallback | None = None,
) -> Result:
    """Evaluate each of `items` (every operation and kernel family) against float64, in child processes.

    `error` is the largest error over the largest result. Metrics are max_abs, max_ulp (spacings of fp16 at
    the reference), exact_share (results that are the reference rounded to nearest even) and the documented
    tolerance; a row beyond it is in error. Keys: "parity/op/exp".
    Raises ArgumentError, DeviceUnavailable.
    """
    names = chosen(items, ITEMS, "items")
    return ask_in_children(
        "parity", check_items, names, device, budget=budget, progress=progress, notes=_NOTES
    )


_NOTES = (
    "Error: the largest error over the largest result. ulp: the largest error in spacings of fp16 at its "
    "reference, many where that is near 0. exact: the share of results that are the rounded reference.",
)


def check_items(device: Device, *, items: Sequence[str], budget: float, progress: ProgressCallback) -> Result:
    """Return the rows of `items`, measured in this process."""
    return ask_all("parity", _question, items, device, progress)


def _question(item: str) -> Question:
    group, _, name = item.partition("/")
    if group == "op":
        case = CASES[name]
        return question_of(case.build(), [case.inputs(draw) for draw in range(_DRAWS)], case.tolerance)
    return FAMILIES[name]()
