"""The verbs that compare results, and stop a change that made something slower."""

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..errors import ArgumentError, ResultFileError
from .options import FILE, OUTPUT
from .terminal import FAILED, say, show

if TYPE_CHECKING:
    from ..comparison import Comparison
    from ..report.table import Table
    from ..results import Result

_REASONS = 5  # of a failed gate, on its line of standard error


def _percent(context: click.Context, option: click.Parameter, value: str) -> float:
    """Read 5% as 0.05. Without its sign a number could mean either."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*%\s*", value)
    if not found:
        raise click.BadParameter(f"{value!r} is no percentage, such as 5%")
    return float(found[1]) / 100


def _names(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Read names separated by commas. None at all is a mistake: a gate would fail for nothing."""
    if value is None:
        return None
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise click.BadParameter("it names nothing")
    return names


THRESHOLD = click.Option(
    ["--threshold"],
    metavar="PERCENT",
    default="1%",
    callback=_percent,
    help="Tolerate differences up to this.",
)
FAIL_ON = click.Option(
    ["--fail-on"],
    metavar="KINDS",
    callback=_names,
    help="Rows that fail the gate, separated by commas: slower, error, missing (on one side), unclear; by "
    "default slower,error,missing.",
)
ALLOW_DIFFERENT = click.Option(
    ["--allow-different"],
    metavar="FACTS",
    callback=_names,
    help="Let the machines differ in these properties, such as numpy,os; all allows any difference.",
)
_VERBOSE = click.Option(["-v", "--verbose"], is_flag=True, help="Show the SAME rows of a long table too.")
_SHARED = (FAIL_ON, ALLOW_DIFFERENT, THRESHOLD, _VERBOSE, OUTPUT)


class _Sides(click.Command):
    """A command whose options --before and --after take all names up to the next option."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        side = ""
        for place, argument in enumerate(args):
            if argument in ("--before", "--after"):
                side = argument
                if place + 1 == len(args) or args[place + 1].startswith("--"):
                    raise click.BadOptionUsage(side, f"option {side!r} requires an argument", context)
            elif argument.startswith("-"):
                side = ""
                spread.append(argument)
            else:
                spread += [side, argument] if side else [argument]
        return super().parse_args(context, spread)


@click.command(
    cls=_Sides,
    params=[
        click.Argument(["files"], type=FILE, nargs=-1, metavar="BEFORE AFTER|CHIP"),
        click.Option(
            ["--before"], type=FILE, multiple=True, metavar="FILE...", help="Several earlier results."
        ),
        click.Option(["--after"], type=FILE, multiple=True, metavar="FILE...", help="Several later results."),
        click.Option(
            ["--gate"],
            is_flag=True,
            help="Exit with 1 if a row is slower, or the machines differ; see --fail-on.",
        ),
        *_SHARED,
    ],
)
def compare(
    files: tuple[str, ...],
    before: tuple[str, ...],
    after: tuple[str, ...],
    gate: bool,
    fail_on: tuple[str, ...] | None,
    allow_different: tuple[str, ...] | None,
    threshold: float,
    verbose: bool,
    output: str | None,
) -> int:
    """Compare a result with a later one, or with published figures.

    BEFORE and AFTER are results saved with -o. The verdict is on AFTER: SLOWER means that AFTER is slower
    than BEFORE. CHIP is a chip with published figures, such as 'M4 Max'; then the verdict is on BEFORE.
    Several files on each side, as in --before A B --after C D, show the variation between runs.

    The exit code is 0. It is 1 if --gate or --fail-on is given and the gate fails, and 2 if the files cannot
    be compared.
    """
    from ..kinds import Kind
    from ..report.comparison_table import lay_out_comparison

    if files and not (before or after) and len(files) == 2:
        before, after = files[:1], files[1:]
    elif files or not (before and after):
        raise ArgumentError("compare takes two files, or --before FILE... and --after FILE...")
    is_gate = gate or fail_on is not None
    if allow_different is not None and not is_gate:
        raise ArgumentError("--allow-different is for --gate")
    comparison = _compared(before, after, threshold)
    failures = failures_of(comparison, fail_on, allow_different) if is_gate else []
    table = lay_out_comparison(comparison, verbose=verbose)
    if is_gate:
        table = with_outcome(table, failures)
    show(table, comparison.to_dicts(), output, Kind.COMPARISON)
    return end_gate("compare", failures)


@click.command(
    params=[
        click.Argument(["results"], type=FILE, nargs=-1, required=True, metavar="RESULT..."),
        click.Option(
            ["--baseline"],
            type=FILE,
            required=True,
            metavar="FILE|FOLDER",
            help="Earlier result, or a folder with one for each probe, chip and machine.",
        ),
        click.Option(
            ["--update"], is_flag=True, help="Make the results the baseline, also if they are slower."
        ),
        *_SHARED,
    ]
)
def gate(
    results: tuple[str, ...],
    baseline: str,
    update: bool,
    fail_on: tuple[str, ...] | None,
    allow_different: tuple[str, ...] | None,
    threshold: float,
    verbose: bool,
    output: str | None,
) -> int:
    """Fail if results are slower than their baseline.

    Each RESULT is compared with the baseline for its probe, device, chip and machine. Several results of one
    kind are pooled. With --update the results become the baseline. Otherwise a missing baseline is an error.

    The exit code is 0. It is 1 if the gate fails, and 2 if there is no baseline or the files cannot be
    compared.
    """
    from ..baselines import find_baselines
    from ..kinds import Kind
    from ..report.comparing import compare_results
    from ..report.comparison_table import lay_out_comparison
    from ..report.names import name_sides
    from ..report.table import Table

    found = find_baselines(baseline, results)
    for one in found:
        _check_distinct([*one.after.items()])
    if update:
        for one in found:
            one.check_update()
    elif lacking := [one.kind for one in found if not one.before]:
        raise ResultFileError(f"{baseline}: has no baseline for {'; '.join(lacking)}: make one with --update")
    comparisons = [
        compare_results(
            one.before,
            [*one.after.values()],
            threshold,
            names=name_sides(["baseline"], [*one.after]),
        )
        for one in found
        if one.before
    ]
    failures = []
    for comparison in () if update else comparisons:
        where = f"{comparison.probe}: " if len(comparisons) > 1 else ""
        failures += [f"{where}{reason}" for reason in failures_of(comparison, fail_on, allow_different)]
    written = [str(file) for one in found for file in one.update()] if update else []
    outcome = "The results are the baseline now:" if update else _outcome(failures)
    table = Table(
        heading=("aneperf gate",),
        header=(),
        align=(),
        rows=(),
        parts=tuple(lay_out_comparison(one, verbose=verbose) for one in comparisons),
        lines=(outcome,),
        paths=tuple(written),
    )
    show(table, [row for one in comparisons for row in one.to_dicts()], output, Kind.COMPARISON)
    return end_gate("gate", failures)


def _compared(before: Sequence[str], after: Sequence[str], threshold: float) -> "Comparison":
    """Compare files, or files with a chip's published figures."""
    from ..chips import find_chip
    from ..report.comparing import compare_results
    from ..report.names import name_sides

    first = _loaded(before)
    if len(after) == 1 and not _is_file(after[0]):
        try:
            names = name_sides(before, [find_chip(after[0]).name])
        except ArgumentError as error:
            raise ArgumentError(f"{after[0]}: is no file, and {error}") from error
        return compare_results(first, after[0], threshold, names=names)
    return compare_results(first, _loaded(after), threshold, names=name_sides(before, after))


def _loaded(files: Sequence[str]) -> list["Result"]:
    """Read the results of a side. Raises ArgumentError for two files that hold the same one."""
    from ..results import Result

    found = [(file, Result.load(file)) for file in files]
    _check_distinct(found)
    return [result for _, result in found]


def _check_distinct(found: Sequence[tuple[str, "Result"]]) -> None:
    """Raise ArgumentError, naming the files, if two of a side hold the same result."""
    for place, (file, result) in enumerate(found):
        if twin := next((other for other, earlier in found[:place] if earlier == result), None):
            raise ArgumentError(
                f"{twin} and {file} hold the same result: on one side it would count as two runs that agree"
            )


def failures_of(
    comparison: "Comparison", fail_on: tuple[str, ...] | None, allow_different: tuple[str, ...] | None
) -> list[str]:
    """Return why a gate fails, a line for each row."""
    from ..comparison import GATED

    return comparison.failures(GATED if fail_on is None else fail_on, allow_different or ())


def with_outcome(table: "Table", failures: Sequence[str]) -> "Table":
    """Say below a table whether the gate passes."""
    return dataclasses.replace(table, lines=(_outcome(failures), *table.lines))


def _outcome(failures: Sequence[str]) -> str:
    return "The gate fails." if failures else "The gate passes."


def end_gate(verb: str, failures: Sequence[str]) -> int:
    """Say why the gate fails, and return the exit code."""
    if not failures:
        return 0
    more = [f"{len(failures) - _REASONS} more"] if len(failures) > _REASONS else []
    say(f"{verb}: the gate fails: {'; '.join([*failures[:_REASONS], *more])}")
    return FAILED


def _is_file(name: str) -> bool:
    return name.endswith(".json") or "/" in name or os.path.exists(name)
