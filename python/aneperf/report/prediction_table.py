"""Lay out predictions: the time of a call, and of the operations that take most of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..chips.parameters import PredictedTime
from ..prediction import OperationTime, Prediction
from .columns import significant
from .table import Table

_MOST = 20  # operations; the others are one row
_SMALLEST = 0.005  # of the time: a smaller part is 0 % of it
_SIGNS = {"dispatch": "D", "compute": "C", "weights": "W", "activations": "A", "host": "H", "fused": "-"}
_LEGEND = (
    "D: dispatch, the fixed cost of a call or an operation. C: compute. W: weights on their way from memory. "
    "A: activations on their way. H: host and ports. -: done on the way of another operation."
)
_CALL = "the call itself"
_HEAD = "a prediction, not a measurement"


def lay_out_prediction(prediction: Prediction) -> Table:
    """Lay out one chip's prediction."""
    total = prediction.ms.value
    by_name = {operation.name: operation for operation in prediction.operations}
    shown, others = _largest([prediction])
    rows = [
        (_name(one), one.op, *_cells(one.ms, total), one.bound) for one in (by_name[name] for name in shown)
    ]
    if others:
        rest = sum(by_name[name].ms.value for name in others)
        rows.append((f"{len(others)} others", "", significant(rest, 3), "", _percent(rest, total), ""))
    if prediction.unit == "call":
        outside, bound = _call_itself(prediction)
        rows.append((_CALL, "", significant(outside, 3), "", _percent(outside, total), bound))
    parts = ", ".join(
        f"{bound} {_percent(ms, total)}"
        for bound, ms in sorted(prediction.parts.items(), key=_size)
        if ms / total >= _SMALLEST
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
    by_name = [{operation.name: operation for operation in one.operations} for one in predictions]
    shown, others = _largest(predictions)
    rows = [
        (f"one {first.unit}", *(significant(one.ms.value, 3) for one in predictions)),
        ("90 %, from", *(significant(one.ms.low, 3) for one in predictions)),
        ("90 %, to", *(significant(one.ms.high, 3) for one in predictions)),
        ("bound by", *(one.bound for one in predictions)),
    ]
    for name in shown:
        found = [operations.get(name) for operations in by_name]
        label = next(_name(operation) for operation in found if operation is not None)
        rows.append((label, *(_cell(operation) for operation in found)))
    if others:
        sums = [sum(found[name].ms.value for name in others if name in found) for found in by_name]
        rows.append((f"{len(others)} others", *(f"{significant(ms, 3)}  " for ms in sums)))
    if first.unit == "call":
        outside = [_call_itself(one) for one in predictions]
        rows.append((_CALL, *(f"{significant(ms, 3)} {_SIGNS[bound]}" for ms, bound in outside)))
    right: list[Literal["right"]] = ["right"] * len(predictions)
    return Table(
        heading=(f"aneperf predict {first.program}, in ms: {_HEAD}",),
        header=("", *(one.chip for one in predictions)),
        align=("left", *right),
        rows=tuple(rows),
        lines=(_LEGEND, *_joined_notes(predictions)),
    )


def records_of(predictions: Sequence[Prediction]) -> list[dict[str, object]]:
    """Return the records of all predictions."""
    return [record for one in predictions for record in one.to_dicts()]


def _largest(predictions: Sequence[Prediction]) -> tuple[list[str], list[str]]:
    """Return the names of the operations that take most on any chip, in order, and the others'.

    Programs that were converted for chips may differ by an operation.
    """
    shares: dict[str, float] = {}
    for one in predictions:
        for operation in one.operations:
            share = operation.ms.value / one.ms.value
            shares[operation.name] = max(share, shares.get(operation.name, 0.0))
    largest = sorted((name for name in shares if shares[name]), key=lambda name: -shares[name])[:_MOST]
    return [name for name in shares if name in largest], [name for name in shares if name not in largest]


def _joined_notes(predictions: Sequence[Prediction]) -> list[str]:
    """Return the notes of all chips; one that several chips have alike names them all."""
    chips: dict[str, list[str]] = {}
    for one in predictions:
        for note in one.notes:
            text = note.removeprefix(f"{one.chip}: ")
            chips.setdefault(text, []).extend([one.chip] if text != note else [])
    return [f"{', '.join(names)}: {text}" if names else text for text, names in chips.items()]


def _call_itself(prediction: Prediction) -> tuple[float, str]:
    """Return the time that a call takes besides its operations, and what bounds it."""
    ms = prediction.ms.value - sum(one.ms.value for one in prediction.operations)
    return ms, "host" if prediction.parts["host"] > ms / 2 else "dispatch"


def _cell(operation: OperationTime | None) -> str:
    """Write an operation's time and the sign of its bound; nothing where a chip's program lacks it."""
    return "" if operation is None else f"{significant(operation.ms.value, 3)} {_SIGNS[operation.bound]}"


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
