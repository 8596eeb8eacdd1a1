"""The verbs for saved results."""

import sys
from collections.abc import Sequence

import click

from ..errors import ArgumentError, ResultFileError
from .options import FILE, OUTPUT, STANDARD_OUTPUT
from .terminal import save, to_json, write


@click.command(
    params=[
        click.Argument(["file"], type=FILE, metavar="[FILE]", required=False),
        click.Option(["--schema"], is_flag=True, help="Print the JSON Schema of a result."),
    ]
)
def validate(file: str | None, schema: bool) -> None:
    """Check a result file: schema, completeness, consistent numbers.

    A file of ab is checked as a whole: both sides, and the verdicts that their turns give.
    """
    from ..files import file_kind, one_line
    from ..kinds import Kind
    from ..results import Result
    from ..schema import check_numbers, result_schema

    if (file is None) != schema:
        raise ArgumentError("validate takes a file, or --schema")
    if file is None:
        write(result_schema().rstrip("\n"), sys.stdout)
        return
    if file_kind(file) is Kind.TURNS:
        _validate_turns(file)
        return
    result = Result.load(file)
    try:
        check_numbers(result)
    except ResultFileError as error:
        raise ResultFileError(f"{file}: {error}") from error
    counts = _counted([row.status for row in result])
    found = (
        f"{file}: a result of aneperf {result.environment.aneperf}, schema version {result.schema_version}: "
        f"{result.probe}, {len(result)} rows ({counts}); {result.environment.label}"
    )
    write(one_line(found), sys.stdout)


def _validate_turns(file: str) -> None:
    """Check a file of `ab`. Raises ResultFileError."""
    from ..files import one_line
    from ..kinds import Kind
    from ..report.turns_file import read_turns

    turns = read_turns(file)
    try:
        turns.check()
    except ResultFileError as error:
        raise ResultFileError(f"{file}: {error}") from error
    verdicts = _counted([str(row.get("verdict")) for row in turns.rows])
    found = (
        f"{file}: {Kind.TURNS.value}: {turns.first.result.probe}, {len(turns.first.environments)} processes "
        f"a side, {len(turns.rows)} rows ({verdicts})"
    )
    write(one_line(found), sys.stdout)


def _counted(words: Sequence[str]) -> str:
    """Count each word: 3 ok, 1 skipped."""
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)) or "none"


@click.command(
    params=[
        click.Argument(["file"], type=FILE, metavar="FILE"),
        click.Option(["--community"], is_flag=True, help="Write an entry of maderix/ANE's community list."),
        click.Option(["--contributor"], metavar="NAME", help="Name of the person who measured it."),
        OUTPUT,
    ]
)
def export(file: str, community: bool, contributor: str | None, output: str | None) -> None:
    """Export a result for maderix/ANE's community list."""
    from ..kinds import Kind
    from ..report.community import community_entry
    from ..results import Result

    if not community:
        raise ArgumentError("export needs a form: --community")
    try:
        entry = to_json(community_entry(Result.load(file), contributor=contributor))
    except ArgumentError as error:
        raise ArgumentError(f"{file}: {error}") from error
    save(entry, output or STANDARD_OUTPUT, Kind.COMMUNITY)
