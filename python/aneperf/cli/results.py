"""Verbs of the `aneperf` command for results that are already measured."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ..errors import AneError, ArgumentError, ResultFileError
from ..files import write_whole
from ..report.community import community_entry
from ..report.comparison_table import lay_out_comparison
from ..results import Result
from ..schema import check_numbers, result_schema
from .terminal import write

ResultFile = Annotated[Path, typer.Argument(metavar="FILE", help="A result that --json saved.")]


def compare(
    file: ResultFile,
    other: Annotated[str, typer.Argument(metavar="FILE|CHIP", help="Another one, or a chip: 'M4 Max'.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    fail_if_slower: Annotated[
        bool, typer.Option("--fail-if-slower", help="Exit with 1 if a row is SLOWER than the other's.")
    ] = False,
) -> None:
    """A result beside another, or beside a chip's published figures."""
    comparison = Result.load(file).compare(Result.load(other) if _is_file(other) else other)
    if json:
        write(_json(comparison.to_dicts()), sys.stdout)
    else:
        write(lay_out_comparison(comparison), sys.stdout)
    slower = any(line.verdict == "SLOWER" for line in comparison)
    raise typer.Exit(1 if slower and fail_if_slower else 0)


def validate(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A result that --json saved.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a result.")] = False,
) -> None:
    """Whether a file is a whole result whose numbers agree."""
    if (file is None) != schema:
        raise ArgumentError("validate takes a file, or --schema")
    if file is None:
        write(result_schema().rstrip("\n"), sys.stdout)
        return
    result = Result.load(file)
    try:
        check_numbers(result)
    except ResultFileError as error:
        raise ResultFileError(f"{file}: {error}") from error
    statuses = [row.status for row in result]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses)) or "none"
    write(
        f"{file}: a result of aneperf {result.environment.aneperf}, schema version {result.schema_version}: "
        f"{result.probe}, {len(result)} rows ({counts}); {result.environment.label}",
        sys.stdout,
    )


def export(
    file: ResultFile,
    community: Annotated[
        bool, typer.Option("--community", help="As an entry of the community's list of machines.")
    ] = False,
    contributor: Annotated[str | None, typer.Option(metavar="NAME", help="Who measured it.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write there instead of printing.")
    ] = None,
) -> None:
    """A result in a form that others keep."""
    if not community:
        raise ArgumentError("export needs a form: --community")
    try:
        entry = _json(community_entry(Result.load(file), contributor=contributor))
    except ArgumentError as error:
        raise ArgumentError(f"{file}: {error}") from error
    if output is None:
        write(entry, sys.stdout)
    else:
        write_whole(output, f"{entry}\n".encode())


def _is_file(name: str) -> bool:
    return name.endswith(".json") or "/" in name or (bool(name) and Path(name).exists())


def _json(value: object) -> str:
    try:
        return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except ValueError as error:
        raise AneError(f"JSON cannot hold this: {error}") from error
