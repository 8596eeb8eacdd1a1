"""Parity: how precisely the device computes each operation and kernel family, against float64."""

from collections.abc import Sequence
from typing import Any

from .._ane_native import Device
from ..child import each_in_child
from ..device import info, opened
from ..kernels.conv_stack import ConvStack
from ..kernels.operations import CASES
from ..measure import positive
from ..reference.precision import tolerance
from ..results import Result, Row, Status
from .case import Kernel
from .checking import Question, chosen, question_of
from .schedule import Progress, Step

_DRAWS = 4  # of inputs: an operation is judged by some 16,000 results
_ITEM_LIMIT_S = 60.0

FAMILIES: dict[str, Kernel] = {
    "conv_stack": ConvStack(channels=64, depth=8, port_dtype="fp16"),
    "conv_stack, fp32 ports": ConvStack(channels=64, depth=8),
}
ITEMS = (*(f"op/{name}" for name in CASES), *(f"kernel/{name}" for name in FAMILIES))


def parity(
    device: Device | str | None = None,
    *,
    budget: float = 60.0,
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
    "Error: the largest error over the largest result. ulp: in spacings of fp16 at the reference. exact: the "
    "share of results that are the reference, rounded to nearest even.",
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
    kernel = FAMILIES[name]
    return question_of(kernel.build(), [{"x": kernel.input()}], kernel.tolerance)


def _row(item: str, status: Status, reason: str | None = None, **fields: Any) -> Row:
    group, _, name = item.partition("/")
    return Row(
        key=f"parity/{item}", status=status, reason=reason, params={"group": group, "item": name}, **fields
    )
