"""The verb that makes a page of results."""

import click

from ..errors import ArgumentError
from .options import FILE, is_printed
from .terminal import save


@click.command(
    params=[
        click.Argument(["files"], type=FILE, nargs=-1, required=True, metavar="FILE..."),
        click.Option(
            ["-o", "--output"],
            type=FILE,
            required=True,
            metavar="FILE",
            help="Write a page (.html), or Markdown (.md); -.md prints it.",
        ),
    ]
)
def report(files: tuple[str, ...], output: str) -> None:
    """Make one page of saved results: tables, pictures, published figures.

    FILE is a result of a probe or of training, telemetry of training, a comparison, or what info saved. The
    page is one file that loads nothing. It needs pip install '.[report]', and Markdown nothing: it has no
    pictures.
    """
    from ..kinds import Kind
    from ..outputs import check_output, form_of
    from ..report.page.build import make_report

    form = form_of(output, Kind.RESULT)
    if form not in (Kind.PAGE, Kind.MARKDOWN):
        raise ArgumentError(f"-o {output}: report writes a page or Markdown: name a file .html or .md")
    if not is_printed(output):
        check_output(output, form, {f"FILE {number}": file for number, file in enumerate(files, 1)})
    save(make_report(files, form).rstrip("\n"), output, form)
