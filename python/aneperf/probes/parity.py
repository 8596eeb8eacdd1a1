"""Parity: how precisely the device computes each operation and kernel family, against float64."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .._ane_native import Device
from ..checks import positive
from ..device import info, opened
from ..kernels.conv_stack import ConvStack
from ..kernels.quantized_stack import QuantizedStack
from ..kernels.schedule import ScheduledKernel, schedule
from ..kernels.transformer import TransformerConfig
from ..reference.precision import tolerance
from ..results import Result, Row, Status
from ..runner.case import Kernel
from ..runner.in_child import each_in_child
from ..runner.operations import CASES
from ..runner.progress import Progress, Step
from ..runner.question import Question, chosen, question_of
from .registry import default_budget

_DRAWS = 4  # of inputs: an operation is judged by some 16,000 results
_ITEM_LIMIT_S = 60.0

# Of a chain of roundings with a softmax or a sigmoid in it: twice what aneforge has for decomposed attention.
_CHAIN = 0.01
_MODEL = TransformerConfig(dim=64, hidden=128, layers=1, heads=4, kv_heads=2, head_dim=16, vocab=256, seq=64)


def _stack(stack: Kernel) -> Question:
    return question_of(stack.build(), [{"x": stack.input()}], stack.tolerance)


def _transformer(kernel: ScheduledKernel) -> Question:
    random = np.random.default_rng(0)
    model = _MODEL
    shapes = {
        "rms1": (model.dim,),
        "rms2": (model.dim,),
        "wq": (model.query_dim, model.dim),
        "wk": (model.kv_dim, model.dim),
        "wv": (model.kv_dim, model.dim),
        "wo": (model.dim, model.query_dim),
        "w1": (model.hidden, model.dim),
        "w2": (model.dim, model.hidden),
        "w3": (model.hidden, model.dim),
    }
    parameters = {
        f"layers.0.{name}": random.standard_normal(shape) / np.sqrt(shape[-1])
        for name, shape in shapes.items()
    }
    parameters |= {
        "norm": random.standard_normal(model.dim),
        "classifier": random.standard_normal((model.vocab, model.dim)) / np.sqrt(model.dim),
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
    progress: Progress | None = None,
) -> Result:
    """Evaluate each of `items` (every operation and kernel family) against float64, in child processes.

    `error` is the largest error over the largest result; metrics give max_abs, max_ulp (spacings of fp16 at
    the reference), exact_share (results that are the reference rounded to nearest even) and the documented
    tolerance, beyond which a row is in error. Keys: "parity/op/exp".
    Raises ArgumentError, DeviceUnavailable.
    """
    names = chosen(items, ITEMS, "items")
    positive("budget", budget)
    device = opened(device)
    rows = each_in_child(
        check_items, names, device, budget=budget, item_limit=_ITEM_LIMIT_S, lost=_row, progress=progress
    )
    return Result(probe="parity", environment=info(device), rows=tuple(rows), notes=_NOTES)


_NOTES = (
    "Error: the largest error over the largest result. ulp: the largest error in spacings of fp16 at its "
    "reference, many where that is near 0. exact: the share of results that are the rounded reference.",
)


def check_items(device: Device, *, items: Sequence[str], budget: float, progress: Progress) -> Result:
    """The rows of `items`, in this process. Raises CompileBudgetError where its compiles end."""
    rows: list[Row] = []
    for item in items:
        progress(Step(len(rows), len(items), item))
        rows.append(_row(item, **_question(item).ask(device)))
        progress(Step(len(rows), len(items), item, rows[-1]))
    return Result(probe="parity", environment=info(device), rows=tuple(rows))


def _question(item: str) -> Question:
    group, _, name = item.partition("/")
    if group == "op":
        case = CASES[name]
        return question_of(case.build(), [case.inputs(draw) for draw in range(_DRAWS)], tolerance(name))
    return FAMILIES[name]()


def _row(item: str, status: Status, reason: str | None = None, **fields: Any) -> Row:
    group, _, name = item.partition("/")
    return Row(
        key=f"parity/{item}", status=status, reason=reason, params={"group": group, "item": name}, **fields
    )
