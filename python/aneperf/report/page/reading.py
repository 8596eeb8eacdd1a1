"""Read the files of a report: results, telemetry of training, comparisons and descriptions of a device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ...checks import shown
from ...errors import ArgumentError
from ...files import file_kind, one_line
from ...kinds import Kind
from ...results import Environment, Result, Row
from ..comparing import HasResult
from ..result_table import lay_out_result
from ..saved import read_saved
from ..table import Table
from ..telemetry_table import Telemetry, lay_out_telemetry, read_telemetry

AnyPath = str | os.PathLike[str]
Given = AnyPath | Result | HasResult
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


def read_sources(given: Sequence[Given]) -> list[Source]:
    """Read every file; results are sources as they are.

    Raises ResultFileError, and ArgumentError for more rows than a page can show, for what is neither a result
    nor a path, and for a file or a result that is given twice.
    """
    for one in given:
        if not isinstance(one, (str, os.PathLike, Result)) and not hasattr(one, "to_result"):
            raise ArgumentError(f"a report is of results and of files, not of {shown(one)}")
    made = [_as_result(one) for one in given]
    places = [os.path.realpath(one) if isinstance(one, (str, os.PathLike)) else one for one in made]
    names = _names(made)
    if twice := [name for at, name in enumerate(names) if places[at] in places[:at]]:
        raise ArgumentError(f"{twice[0]}: is given twice: a report counts each file once")
    sources: list[Source] = []
    rows = 0
    for one, name in zip(made, names, strict=True):
        source = _read(one, name) if isinstance(one, (str, os.PathLike)) else _source(one, name)
        rows += len(source.table.rows) if source.result is None else len(source.result)
        if rows > MOST_ROWS:
            raise ArgumentError(
                f"{name}: with it the report has more than {MOST_ROWS} rows: give fewer files"
            )
        sources.append(source)
    return sources


def _as_result(one: Given) -> AnyPath | Result:
    return one if isinstance(one, (str, os.PathLike, Result)) else one.to_result()


def _source(result: Result, name: str) -> Source:
    return Source(name, Kind.RESULT, lay_out_result(result), result=result, environment=result.environment)


def _read(path: AnyPath, name: str) -> Source:
    if file_kind(path) is Kind.TELEMETRY:
        telemetry = read_telemetry(path)
        environment = telemetry.run.environment if telemetry.run else None
        table = lay_out_telemetry(telemetry)
        return Source(name, Kind.TELEMETRY, table, telemetry=telemetry, environment=environment)
    saved = read_saved(path)
    if isinstance(saved.data, Result):
        return _source(saved.data, name)
    known = saved.data if isinstance(saved.data, Environment) else None
    return Source(name, saved.kind, saved.table, environment=known)


def _names(made: Sequence[AnyPath | Result]) -> list[str]:
    """Return the last parts of each path, as many as make the names differ. A result has its probe's name."""
    texts = [one.probe if isinstance(one, Result) else os.fspath(one) for one in made]
    for parts in range(1, 9):
        names = [one_line("/".join(text.split("/")[-parts:]), _LONGEST_NAME) for text in texts]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {name}" for number, name in enumerate(names, 1)]


def device_of(environment: Environment) -> tuple[object, ...]:
    """Return what tells a device from others: what it is, its settings, and the machine it is in."""
    memory = environment.memory_bytes
    return (
        environment.device,
        environment.chip,
        environment.subtype,
        environment.model,
        environment.cpu,
        environment.cores,
        None if memory is None else round(memory / 2**30),  # a kernel takes some KB of its own
        tuple(sorted((environment.properties | environment.variables | environment.cluster).items())),
    )


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
