"""The verbs for saved results."""

import sys

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
    """Check a result file: schema, completeness, consistent numbers."""
    from ..files import one_line
    from ..results import Result
    from ..schema import check_numbers, result_schema

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
    found = (
        f"{file}: a result of aneperf {result.environment.aneperf}, schema version {result.schema_version}: "
        f"{result.probe}, {len(result)} rows ({counts}); {result.environment.label}"
    )
    write(one_line(found), sys.stdout)


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
