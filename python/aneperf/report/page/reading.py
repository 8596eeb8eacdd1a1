"""Read the files of a report: results, telemetry of training, comparisons and descriptions of a device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ...errors import ArgumentError
from ...files import file_kind, one_line
from ...kinds import Kind
from ...results import Environment, Result, Row
from ..saved import read_saved
from ..table import Table
from ..telemetry_table import Telemetry, lay_out_telemetry, read_telemetry

MOST_ROWS = 20_000  # of all files; the page stays below 2 MB
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Source:
    """A file, by a short name: what it holds of a kind, and its table."""

    name: str
    kind: Kind
    table: Table
    result: Result | None = None
    telemetry: Telemetry | None = None
    environment: Environment | None = None

    @property
    def is_software(self) -> bool:
        """Tell whether its numbers describe a CPU and not a Neural Engine."""
        return self.environment is not None and self.environment.is_software


def read_sources(paths: Sequence[str | os.PathLike[str]]) -> list[Source]:
    """Read every file.

    Raises ResultFileError, and ArgumentError for more rows than a page can show and for a file named twice.
    """
    places = [os.path.realpath(path) for path in paths]
    if twice := [path for at, path in enumerate(paths) if places[at] in places[:at]]:
        raise ArgumentError(f"{twice[0]}: is given twice: a report counts each file once")
    sources: list[Source] = []
    rows = 0
    for path, name in zip(paths, _names(paths), strict=True):
        source = _read(path, name)
        rows += len(source.table.rows) if source.result is None else len(source.result)
        if rows > MOST_ROWS:
            raise ArgumentError(
                f"{path}: with it the report has more than {MOST_ROWS} rows: give fewer files"
            )
        sources.append(source)
    return sources


def _read(path: str | os.PathLike[str], name: str) -> Source:
    if file_kind(path) is Kind.TELEMETRY:
        telemetry = read_telemetry(path)
        environment = telemetry.run.environment if telemetry.run else None
        table = lay_out_telemetry(telemetry)
        return Source(name, Kind.TELEMETRY, table, telemetry=telemetry, environment=environment)
    saved = read_saved(path)
    if isinstance(saved.data, Result):
        environment = saved.data.environment
        return Source(name, saved.kind, saved.table, result=saved.data, environment=environment)
    known = saved.data if isinstance(saved.data, Environment) else None
    return Source(name, saved.kind, saved.table, environment=known)


def _names(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the last part of each path, or as many as make the names differ."""
    texts = [os.fspath(path) for path in paths]
    for parts in range(1, 9):
        names = [one_line("/".join(text.split("/")[-parts:]), _LONGEST_NAME) for text in texts]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {name}" for number, name in enumerate(names, 1)]


def parts_of(result: Result) -> list[Result]:
    """Return the result of each probe in a suite, or the result itself."""
    if result.probe != "suite":
        return [result]
    probes: dict[str, list[Row]] = {}
    for row in result.rows:
        probes.setdefault(row.key.partition("/")[0], []).append(row)
    return [
        msgspec.structs.replace(
            result,
            probe=probe,
            rows=tuple(rows),
            notes=tuple(
                note.removeprefix(f"{probe}: ") for note in result.notes if note.startswith(f"{probe}: ")
            ),
        )
        for probe, rows in probes.items()
    ]
