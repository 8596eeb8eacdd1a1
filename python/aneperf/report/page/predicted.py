"""Sections of predictions: files of them, and measured rows that take longer, or less, than they say."""

from __future__ import annotations

from collections.abc import Sequence

from ...chips import find_chip
from ...chips.parameters import PredictedTime, parameters_of
from ...errors import ArgumentError
from ...files import one_line
from ...kinds import Kind
from ...prediction.notes import chip_notes
from ...prediction.stack import predict_stack
from ...results import Result, Row
from ..columns import RANKED, significant
from ..table import Table
from .model import Block, Section
from .reading import Source, parts_of
from .stack_text import stack_of

_LONG = 20  # rows of a table that is not folded


def prediction_sections(sources: Sequence[Source]) -> list[Section]:
    """Return a section for each file of predictions."""
    return [
        Section(
            f"Prediction, not a measurement ({source.name})",
            (Block(source.table.heading[0], source.table, folded=len(source.table.rows) > _LONG),),
        )
        for source in sources
        if source.kind is Kind.PREDICTION
    ]


def predicted_section(sources: Sequence[Source]) -> Section | None:
    """Return the rows of engines beside predictions; None if there are none. A CPU's rows have none."""
    blocks = []
    for source in sources:
        if source.is_software or source.result is None:
            continue
        for part in parts_of(source.result):
            if (table := lay_out_predicted(part)) is not None:
                title = f"{one_line(part.probe)} ({source.name})"
                blocks.append(Block(title, table, folded=len(table.rows) > _LONG))
    return Section("Measured and predicted", tuple(blocks)) if blocks else None


def lay_out_predicted(result: Result) -> Table | None:
    """Lay out the stacks of a result beside what its chip should take; None for an unknown chip."""
    try:
        chip = find_chip(result.environment.chip).name
    except ArgumentError:
        return None
    rows = []
    far = []
    for row in result:
        stack = stack_of(row) if row.key.partition("/")[0] in RANKED else None
        if stack is None or row.status != "ok" or row.unit != "ms" or not row.median:
            continue
        predicted = predict_stack(stack, chip)
        factor = f"{significant(row.median / predicted.value, 2)} times the prediction"
        is_far = not predicted.low <= row.median <= predicted.high
        far += [f"{row.name}: measured {factor}"] if is_far else []
        rows.append(_cells(row, predicted, factor, is_far))
    if not rows:
        return None
    found = f"Outside of the interval: {one_line('; '.join(far), 600)}." if far else "None is outside."
    return Table(
        heading=(f"Measured and predicted times of {one_line(result.probe)} on {chip}",),
        header=("Row", "Measured (ms)", "Predicted", "90 % interval", "Measured is", ""),
        align=("left", "right", "right", "right", "left", "left"),
        rows=tuple(rows),
        lines=(
            found,
            "Predictions are those of aneperf predict; docs/prediction.md says how good they are.",
            *chip_notes(parameters_of(chip)),
        ),
    )


def _cells(row: Row, predicted: PredictedTime, factor: str, is_far: bool) -> tuple[str, ...]:
    interval = f"{significant(predicted.low, 2)} to {significant(predicted.high, 2)}"
    outside = "outside" if is_far else ""
    return row.name, significant(row.median, 4), significant(predicted.value, 3), interval, factor, outside
