"""Read any file that aneperf writes about a measurement, and lay it out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from .. import bounds
from ..errors import ArgumentError, ResultFileError
from ..files import LONGEST_QUOTE, file_kind, one_line, read_input
from ..kinds import Kind
from ..results import Environment, Result
from .columns import UNKNOWN, significant
from .comparison_table import lay_out_comparison
from .result_table import lay_out_environment, lay_out_result
from .table import Table
from .telemetry_table import lay_out_telemetry, read_telemetry
from .turns_file import Record, read_turns

T = TypeVar("T")
_TITLES = {Kind.COMPARISON: "aneperf compare", Kind.PREDICTION: "aneperf predict: not a measurement"}
_LONGEST_NOTES = 2000  # characters, of a prediction


@dataclass(frozen=True)
class Saved:
    """A file's kind, its data, which JSON can hold, and its table."""

    kind: Kind
    data: Result | Environment | list[Record]
    table: Table


def read_saved(path: str | os.PathLike[str], *, verbose: bool = False) -> Saved:
    """Read a result, telemetry, a comparison, predictions or the description of a device.

    Raises ResultFileError.
    """
    kind = file_kind(path)
    if kind is Kind.TELEMETRY:
        telemetry = read_telemetry(path)
        return Saved(kind, telemetry.records(), lay_out_telemetry(telemetry))
    if kind in _TITLES:
        most = bounds.STATEMENTS if kind is Kind.PREDICTION else bounds.ROWS
        records = _decoded(path, kind, list[Record], most)
        if max(map(len, records), default=0) > bounds.NAMES:
            raise ResultFileError(f"{path}: a row has more than {bounds.NAMES} columns")
        if kind is Kind.PREDICTION:
            return Saved(kind, records, _lay_out_predictions(records))
        return Saved(kind, records, _lay_out_records(_TITLES[kind], records))
    if kind is Kind.TURNS:
        try:
            comparison = read_turns(path).judge()
        except ArgumentError as error:
            raise ResultFileError(f"{path}: {error}") from error
        table = lay_out_comparison(comparison, verbose=verbose)
        return Saved(Kind.COMPARISON, comparison.to_dicts(), table)
    if kind is Kind.ENVIRONMENT:
        environment = _decoded(path, kind, Environment)
        return Saved(kind, environment, lay_out_environment(environment))
    result = Result.load(path)
    return Saved(Kind.RESULT, result, lay_out_result(result, verbose=verbose))


def _decoded(path: str | os.PathLike[str], kind: Kind, wanted: type[T], most: int = bounds.ROWS) -> T:
    text = read_input(path, kind, bounds.JSON_BYTES)
    if bounds.has_many_rows(text, most):
        raise ResultFileError(f"{path}: has more than {most} rows, the most that {kind.value} has")
    try:
        return msgspec.json.decode(text, type=wanted)
    except (ValueError, RecursionError) as error:
        raise ResultFileError(f"{path}: not {kind.value}: {one_line(error, LONGEST_QUOTE)}") from error


def _lay_out_predictions(records: list[Record]) -> Table:
    """Lay out predictions; one program, which is all that `predict` writes, is named in the heading alone."""
    title = _TITLES[Kind.PREDICTION]
    programs = {str(record.get("prediction")) for record in records}
    if len(programs) != 1:
        return _lay_out_records(title, records)
    (program,) = programs
    shown = [{name: value for name, value in record.items() if name != "prediction"} for record in records]
    for record in shown:
        if record.get("operation") == program:
            record["operation"] = f"one {record.get('op')}"
    return _lay_out_records(title.replace(":", f" {one_line(program, LONGEST_QUOTE)}:", 1), shown)


def _lay_out_records(title: str, records: list[Record]) -> Table:
    """Lay out records that have the same names."""
    notes = [str(record["notes"]) for record in records if record.get("notes")]
    names = list(dict.fromkeys(name for record in records for name in record if name != "notes"))
    texts = {name: any(isinstance(record.get(name), str) for record in records) for name in names}
    return Table(
        heading=(title,),
        header=tuple(name.replace("_", " ").capitalize() for name in names),
        align=tuple("left" if texts[name] else "right" for name in names),
        rows=tuple(tuple(_cell(record.get(name)) for name in names) for record in records),
        lines=tuple(one_line(note, _LONGEST_NOTES) for note in dict.fromkeys(notes)),
    )


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return UNKNOWN
    return significant(value, 4) if isinstance(value, float) else str(value)
