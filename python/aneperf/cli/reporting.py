"""The verb that makes a page of results, and the site of a community."""

import sys

import click

from ..errors import ArgumentError
from .options import FILE, is_printed
from .terminal import FAILED, save, write


@click.command(
    params=[
        click.Argument(["files"], type=FILE, nargs=-1, metavar="[FILE]..."),
        click.Option(
            ["-o", "--output"],
            type=FILE,
            required=True,
            metavar="FILE",
            help="Write a page (.html), or Markdown (.md); -.md prints it. With --community, a folder.",
        ),
        click.Option(
            ["--community"],
            type=FILE,
            metavar="FOLDER",
            help="Make a site of the published figures and of the results in FOLDER/NAME/*.json.",
        ),
        click.Option(["--strict"], is_flag=True, help="Exit with 1 if a submission is refused or a copy."),
    ]
)
def report(files: tuple[str, ...], output: str, community: str | None, strict: bool) -> int:
    """Make a page from saved results: tables, plots, published figures.

    FILE is a result of a probe or of training, training telemetry, a comparison, a prediction, or the output
    of info. The page is a single file that loads nothing. It needs pip install '.[report]' in a checkout.
    Markdown has no plots and needs nothing more.

    --community makes a website of published figures and submitted results instead, after checking each
    submission. docs/community.md explains how to submit one.
    """
    if community is not None:
        if files:
            raise ArgumentError("report takes files, or --community with a folder, and not both")
        return _make_site(community, output, strict)
    if strict:
        raise ArgumentError("--strict is about submissions: give their folder with --community")
    if not files:
        raise ArgumentError("report needs a FILE, or --community with a folder")
    from ..kinds import Kind
    from ..outputs import check_output, form_of
    from ..report.page.build import make_report

    form = form_of(output, Kind.RESULT)
    if form not in (Kind.PAGE, Kind.MARKDOWN):
        raise ArgumentError(f"-o {output}: report writes a page or Markdown: name a file .html or .md")
    if not is_printed(output):
        check_output(output, form, {f"FILE {number}": file for number, file in enumerate(files, 1)})
    save(make_report(files, form).rstrip("\n"), output, form)
    return 0


def _make_site(folder: str, output: str, strict: bool) -> int:
    """Write the site, and a line for each submission; none begins with what a CI's log takes as a command."""
    from ..report.page.template import need_jinja
    from ..report.site.collection import collect
    from ..report.site.output import check_site_folder, write_site
    from ..report.site.pages import make_site

    need_jinja()
    check_site_folder(output, folder)
    collection = collect(folder)
    write_site(output, make_site(collection))
    for one in collection.accepted:
        write(f"accepted: {one.name}: {one.probe}, {one.rows} rows, {one.chip.name}", sys.stdout)
    for refusal in collection.refused:
        write(f"refused: {refusal.name}: {refusal.reason}", sys.stdout)
    for copy in collection.copies:
        write(f"copied: {copy.name}: {copy}", sys.stdout)
    counts = f"{len(collection.accepted)} accepted, {len(collection.refused)} refused"
    write(f"{output}: the site is written, submissions: {counts}", sys.stdout)
    return FAILED if strict and (collection.refused or collection.copies) else 0
