"""The verbs that show what is saved, and what there is."""

import sys

import click

from ..errors import ArgumentError
from .options import FILE, OUTPUT, VERBOSE, check_named, is_printed
from .terminal import save, save_result, show, show_table, write


@click.command(
    "show",
    params=[
        click.Argument(["file"], type=FILE, metavar="FILE"),
        click.Option(
            ["--plot"],
            type=FILE,
            metavar="FILE",
            help="Plot a result as .png, .svg or .pdf; needs matplotlib.",
        ),
        VERBOSE,
        OUTPUT,
    ],
)
def show_file(file: str, plot: str | None, verbose: bool, output: str | None) -> None:
    """Show the table of a saved file, or convert the file.

    FILE is a result of a probe or of training, training telemetry, a comparison, or the output of info.
    """
    from ..outputs import check_outputs, form_of
    from ..report.plots import check_plot
    from ..report.saved import read_saved
    from ..results import Result

    saved = read_saved(file, verbose=verbose)
    to_file = None if is_printed(output) else output
    written = {"-o": (to_file, form_of(to_file, saved.kind))}
    if plot is not None:
        check_named("plot", plot)
        if not isinstance(saved.data, Result):
            raise ArgumentError(f"{file}: is {saved.kind.value}: only a result is drawn")
        written["--plot"] = (plot, check_plot(plot)[1])
    check_outputs(written, {"FILE": file})
    if plot is not None and isinstance(saved.data, Result):
        saved.data.plot(plot)
    if not isinstance(saved.data, Result):
        show(saved.table, saved.data, output, saved.kind)
        return
    if output is not None:
        save_result(saved.data, output)
    show_table(saved.table, output)


@click.command(
    params=[
        click.Argument(["file"], type=FILE, metavar="FILE"),
        click.Argument(["key"], metavar="[KEY]", required=False),
        click.Option(["--warm-up"], is_flag=True, help="Include the calls of the warm-up."),
        click.Option(
            ["-o", "--output"],
            type=FILE,
            metavar="FILE.csv",
            help="Write CSV with process and warm-up of each call; -.csv prints it.",
        ),
    ]
)
def dump(file: str, key: str | None, warm_up: bool, output: str | None) -> None:
    """Print the duration of each call of a row, in ns.

    KEY is the row's key or name, or a part that no other row has; without it, the keys are printed.
    """
    from ..kinds import Kind
    from ..outputs import form_of
    from ..report.durations import calls_of, find_row
    from ..report.forms import to_csv
    from ..results import Result

    result = Result.load(file)
    if output is not None and form_of(output, Kind.TEXT) is not Kind.CSV:
        raise ArgumentError(f"-o {output}: dump writes CSV: name a file that ends in .csv, or -.csv")
    if key is None:
        write("\n".join(row.key for row in result if row.durations_ns), sys.stdout)
        return
    calls = calls_of(find_row(result, key), warm_up=warm_up)
    if output is None:
        write("\n".join(str(call["ns"]) for call in calls), sys.stdout)
    else:
        save(to_csv(calls).rstrip("\n"), output, Kind.CSV)


@click.command(
    "list",
    params=[
        click.Argument(
            ["what"], type=click.Choice(["probes", "chips", "models"]), required=False, metavar="[LIST]"
        ),
        OUTPUT,
    ],
)
def list_all(what: str | None, output: str | None) -> None:
    """List the probes, the chips with published figures, and the models.

    LIST is probes, chips or models; by default, all of them.
    """
    from ..kinds import Kind
    from ..report.listing import LISTS, lay_out_list, lay_out_lists, records_of

    names = LISTS if what is None else (what,)
    table = lay_out_lists() if what is None else lay_out_list(what)
    show(table, [record for name in names for record in records_of(name)], output, Kind.LIST)
