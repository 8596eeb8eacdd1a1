"""The file of `aneperf ab`: both sides and each pair's ratios, from which a reader computes the verdicts."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from .. import bounds
from ..comparison import Comparison, Names
from ..errors import ArgumentError, ResultFileError
from ..files import LONGEST_QUOTE, one_line, read_input
from ..kinds import Kind
from ..results import MAXIMUM_PROCESSES, Environment, Result, json_text
from ..schema import check_numbers
from .comparing import compare_results
from .differences import find_differences

Record = dict[str, str | int | float | None]
VERSION = 1
_ROUNDING = 1e-9  # of a number that is computed again


class MeasuredSide(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A side: its merged rows with their durations, and the environment of each process, in their order."""

    name: str
    environments: tuple[Environment, ...]
    result: Result


class TurnsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two sides that took turns.

    `ratios` has, by key, the time of the second side over that of the first in each pair of processes, and
    `rows` what follows: the records of the comparison. Raises ArgumentError.
    """

    ab_version: int = VERSION
    first: MeasuredSide
    second: MeasuredSide
    threshold: float
    ratios: dict[str, tuple[float, ...]]
    rows: tuple[Record, ...] = ()

    def __post_init__(self) -> None:
        if self.ab_version != VERSION:
            raise ArgumentError(f"ab_version is {self.ab_version}; this is version {VERSION}")
        for key, ratios in self.ratios.items():
            if len(ratios) > MAXIMUM_PROCESSES or not all(0 < one < math.inf for one in ratios):
                raise ArgumentError(
                    f"row {key!r}: ratios are positive numbers of at most {MAXIMUM_PROCESSES} pairs"
                )

    def judge(self) -> Comparison:
        """Compute the verdicts. Raises ArgumentError as `compare_results` does."""
        sides = (self.first, self.second)
        names = Names(self.first.name, self.second.name)
        results = [side.result for side in sides]
        found = compare_results(results[0], results[1], self.threshold, names, self.ratios)
        return replace(found, differences=find_differences(*(side.environments for side in sides)))

    def check(self) -> None:
        """Check both results, and that the rows are what follows. Raises ResultFileError."""
        for side in (self.first, self.second):
            try:
                check_numbers(side.result)
            except ResultFileError as error:
                raise ResultFileError(f"{side.name}: {error}") from None
        try:
            computed = self.judge().to_dicts()
        except ArgumentError as error:
            raise ResultFileError(str(error)) from error
        if len(computed) != len(self.rows):
            raise ResultFileError(f"has {len(self.rows)} compared rows, and {len(computed)} follow from it")
        for stated, record in zip(self.rows, computed, strict=True):
            _check_record(stated, record)

    def to_json(self) -> bytes:
        """Return the UTF-8 text of the file. Raises ResultFileError."""
        return json_text(self)


def turns_file(
    results: Sequence[Result],
    environments: Sequence[Sequence[Environment]],
    ratios: Mapping[str, Sequence[float]],
    threshold: float,
    names: Names,
) -> tuple[TurnsFile, Comparison]:
    """Return the file of two measured sides, and their comparison. Raises ArgumentError."""
    first, second = (
        MeasuredSide(name=name, environments=tuple(known), result=result)
        for name, known, result in zip((names.first, names.second), environments, results, strict=True)
    )
    told = {key: tuple(values) for key, values in ratios.items()}
    file = TurnsFile(first=first, second=second, threshold=threshold, ratios=told)
    comparison = file.judge()
    return msgspec.structs.replace(file, rows=tuple(comparison.to_dicts())), comparison


def read_turns(path: str | os.PathLike[str]) -> TurnsFile:
    """Read a file. Raises ResultFileError."""
    text = read_input(path, Kind.TURNS, bounds.JSON_BYTES)
    if bounds.has_many_rows(text, 4 * bounds.ROWS):
        raise ResultFileError(f"{path}: has more than {bounds.ROWS} rows a side, the most that a result has")
    try:
        return msgspec.json.decode(text, type=TurnsFile)
    except (ValueError, RecursionError) as error:
        raise ResultFileError(f"{path}: not {Kind.TURNS.value}: {one_line(error, LONGEST_QUOTE)}") from error


def _check_record(stated: Record, computed: Record) -> None:
    for name in dict.fromkeys((*computed, *stated)):
        if name not in stated or name not in computed or not _agree(stated[name], computed[name]):
            key = one_line(computed.get("key"), LONGEST_QUOTE)
            raise ResultFileError(
                f"row {key!r}: {one_line(name, LONGEST_QUOTE)} is {stated.get(name)!r}, but both sides and "
                f"the ratios give {computed.get(name)!r}"
            )


def _agree(stated: object, computed: object) -> bool:
    if isinstance(stated, float | int) and isinstance(computed, float | int):
        return math.isclose(stated, computed, rel_tol=_ROUNDING)
    return stated == computed
