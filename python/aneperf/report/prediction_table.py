"""Lay out predictions: the time of a call, and of the operations that take most of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..chips.parameters import PredictedTime
from ..prediction import OperationTime, Prediction
from .columns import significant
from .table import Table

_MOST = 20  # operations; the others are one row
_SIGNS = {"dispatch": "D", "compute": "C", "weights": "W", "activations": "A", "host": "H", "fused": "-"}
_LEGEND = (
    "D: dispatch, the fixed cost of a call or an operation. C: compute. W: weights on their way from memory. "
    "A: activations on their way. H: host and ports. -: done on the way of another operation."
)
_HEAD = "a prediction, not a measurement"


def lay_out_prediction(prediction: Prediction) -> Table:
    """Lay out one chip's prediction."""
    total = prediction.ms.value
    shown, others = _largest([prediction])
    rows = [
        (
            _name(prediction.operations[place]),
            prediction.operations[place].op,
            *_cells(prediction.operations[place].ms, total),
            prediction.operations[place].bound,
        )
        for place in shown
    ]
    if others:
        rest = sum(prediction.operations[place].ms.value for place in others)
        rows.append((f"{len(others)} others", "", significant(rest, 3), "", _percent(rest, total), ""))
    outside = prediction.ms.value - sum(one.ms.value for one in prediction.operations)
    if prediction.unit == "call":
        rows.append(
            ("the call itself", "", significant(outside, 3), "", _percent(outside, total), "dispatch")
        )
    parts = ", ".join(
        f"{bound} {_percent(ms, total)}" for bound, ms in sorted(prediction.parts.items(), key=_size) if ms
    )
    return Table(
        heading=(
            f"aneperf predict {prediction.program} on {prediction.chip}: {_HEAD}",
            f"{_sum(prediction)}, bound by {prediction.bound}: {parts}.",
        ),
        header=("Operation", "Op", "ms", "90 % interval", "Share", "Bound by"),
        align=("left", "left", "right", "right", "right", "left"),
        rows=tuple(rows),
        lines=prediction.notes,
        spare=(3,),
    )


def lay_out_predictions(predictions: Sequence[Prediction]) -> Table:
    """Lay out predictions of one program: a column for each chip."""
    if len(predictions) == 1:
        return lay_out_prediction(predictions[0])
    first = predictions[0]
    shown, others = _largest(predictions)
    rows = [
        (f"one {first.unit}", *(significant(one.ms.value, 3) for one in predictions)),
        ("90 %, from", *(significant(one.ms.low, 3) for one in predictions)),
        ("90 %, to", *(significant(one.ms.high, 3) for one in predictions)),
        ("bound by", *(one.bound for one in predictions)),
    ]
    for place in shown:
        operations = [one.operations[place] for one in predictions]
        cells = (f"{significant(one.ms.value, 3)} {_SIGNS[one.bound]}" for one in operations)
        rows.append((_name(operations[0]), *cells))
    if others:
        sums = (sum(one.operations[place].ms.value for place in others) for one in predictions)
        rows.append((f"{len(others)} others", *(f"{significant(ms, 3)}  " for ms in sums)))
    notes = [note for one in predictions for note in one.notes]
    right: list[Literal["right"]] = ["right"] * len(predictions)
    return Table(
        heading=(f"aneperf predict {first.program}, in ms: {_HEAD}",),
        header=("", *(one.chip for one in predictions)),
        align=("left", *right),
        rows=tuple(rows),
        lines=(_LEGEND, *dict.fromkeys(notes)),
    )


def records_of(predictions: Sequence[Prediction]) -> list[dict[str, object]]:
    """Return the records of all predictions."""
    return [record for one in predictions for record in one.to_dicts()]


def _largest(predictions: Sequence[Prediction]) -> tuple[list[int], list[int]]:
    """Return the places of the operations that take most on any chip, in order, and the others'."""
    count = len(predictions[0].operations)
    costs = [
        max(one.operations[place].ms.value / one.ms.value for one in predictions) for place in range(count)
    ]
    ordered = sorted(range(count), key=lambda place: -costs[place])
    shown = sorted(place for place in ordered[:_MOST] if costs[place])
    return shown, sorted(set(range(count)) - set(shown))


def _name(operation: OperationTime) -> str:
    return f"{operation.count} x {operation.name}" if operation.count > 1 else operation.name


def _sum(prediction: Prediction) -> str:
    ms = prediction.ms
    return (
        f"One {prediction.unit}: {significant(ms.value, 3)} ms, with 90 % between "
        f"{significant(ms.low, 3)} and {significant(ms.high, 3)} ms"
    )


def _cells(ms: PredictedTime, total: float) -> tuple[str, str, str]:
    interval = f"{significant(ms.low, 2)} to {significant(ms.high, 2)}" if ms.value else ""
    return significant(ms.value, 3), interval, _percent(ms.value, total)


def _percent(part: float, total: float) -> str:
    return f"{part / total:.0%}".replace("%", " %")


def _size(item: tuple[str, float]) -> float:
    return -item[1]
