"""The verb that times two interpreters, environments or models in turns."""

from typing import Any

import click
from click.core import ParameterSource

from ..errors import ArgumentError
from ..probes.registry import BENCH, VERBS
from .comparing import ALLOW_DIFFERENT, FAIL_ON, THRESHOLD, end_gate, failures_of, with_outcome
from .options import FILE, OUTPUT, is_printed
from .probes import probe_verb
from .terminal import save, say, show

_PROCESSES = 10  # pairs, by default: a few whose ratio is off by several percent decide less
_COMPARED = ("aneperf", "numpy", "python")  # facts of an environment, whose difference no gate fails for
_HELP = """Time two interpreters, environments or models in turns.

A and B are virtual environments that have aneperf, or their Python interpreters. VERB is a verb that times
rows. A and B can also be models; then no VERB is given, and the options are those of bench:

\b
  aneperf ab old/.venv new/.venv -- peak --budget 120 --processes 20
  aneperf ab before.mil after.mil -- --budget 60

Each side runs in --processes fresh processes, 10 by default, which share its --budget. One process of A and
one of B run at the same time and make calls in turns of 10 ms. The verdict is on B, from the ratio of the
turns. Options of ab itself come before A.
"""


@click.command(
    help=_HELP,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    params=[
        click.Argument(["a"], type=FILE, metavar="A"),
        click.Argument(["b"], type=FILE, metavar="B"),
        click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED, metavar="[--] VERB [OPTIONS]..."),
        click.Option(["--gate"], is_flag=True, help="Exit with 1 if a row of B is slower or failed."),
        FAIL_ON,
        ALLOW_DIFFERENT,
        THRESHOLD,
        OUTPUT,
    ],
)
def ab(
    a: str,
    b: str,
    rest: tuple[str, ...],
    gate: bool,
    fail_on: tuple[str, ...] | None,
    allow_different: tuple[str, ...] | None,
    threshold: float,
    output: str | None,
) -> int:
    """Run the verb."""
    from ..checks import count, positive
    from ..kinds import Kind
    from ..outputs import check_output, form_of
    from ..report.comparison_table import lay_out_comparison
    from ..report.names import name_sides
    from ..report.turns_file import turns_file
    from ..results import MAXIMUM_PROCESSES
    from ..runner.commands import find_side, measure_in_turns
    from .measuring import progress_bar

    is_gate = gate or fail_on is not None
    if allow_different is not None and not is_gate:
        raise ArgumentError("--allow-different is for --gate")
    form = form_of(output, Kind.TURNS)
    if output is not None and not is_printed(output):
        check_output(output, form, {"A": a, "B": b})
    named = (find_side(a), find_side(b))
    if (named[0].program is None) != (named[1].program is None):
        raise ArgumentError("A and B must both be interpreters or environments, or both be models")
    verb, options, given = _verb(rest, named[0].program)
    processes = count("processes", given["processes"], 2, MAXIMUM_PROCESSES)
    budget = positive("budget", given["budget"])
    first, second = sides = (named[0].asked(verb), named[1].asked(verb))
    if first.program is None and first.package == second.package:
        say(f"ab: both sides load {first.package}: one aneperf is compared with itself")
    with progress_bar() as bar:
        task = bar.add_task(f"{a}, {b}", total=processes)
        measured = measure_in_turns(
            sides,
            verb,
            options,
            processes=processes,
            budget=2 * budget / processes,  # of which it makes calls for half
            time_limit=_time_limit(2 * budget / processes, given["compile_timeout"]),
            report=lambda done: bar.update(task, completed=done, refresh=True),
        )
    names = name_sides([a], [b])
    file, comparison = turns_file(measured.results, measured.environments, measured.ratios, threshold, names)
    allowed = (*_COMPARED, *(allow_different or ()))
    failures = failures_of(comparison, fail_on, allowed) if is_gate else []
    table = lay_out_comparison(comparison)
    table = with_outcome(table, failures) if is_gate else table
    is_json = output is not None and form is Kind.TURNS
    if output is not None and is_json:
        save(file.to_json().decode().rstrip("\n"), output, form)
    if not (is_json and is_printed(output)):
        show(table, comparison.to_dicts(), None if is_json else output, Kind.COMPARISON)
    return end_gate("ab", failures)


def _verb(rest: tuple[str, ...], program: str | None) -> tuple[str, list[str], dict[str, Any]]:
    """Return the verb, its options as they were given, and their values. Raises ArgumentError, UsageError."""
    words = list(rest[1:] if rest[:1] == ("--",) else rest)
    if program is not None:
        words = [BENCH.name, *words[words[:1] == [BENCH.name] :]]
    timed = [name for name, probe in VERBS.items() if probe.processes]
    if not words or words[0] not in timed:
        raise ArgumentError(f"ab needs a verb that times rows: {', '.join(timed)}")
    verb, *options = words
    with probe_verb(VERBS[verb]).make_context(
        f"aneperf ab A B -- {verb}", [*([program] if program else []), *options]
    ) as context:
        given = dict(context.params)
        if context.get_parameter_source("processes") is ParameterSource.DEFAULT:
            given["processes"] = _PROCESSES
    VERBS[verb].arguments(given)
    if given["output"] is not None:
        raise ArgumentError("-o is an option of ab: give it before A")
    return verb, options, given


def _time_limit(budget: float, compile_timeout: float | None) -> float:
    """Return the seconds after which a run hangs."""
    from ..device import asked_compile_timeout

    return 2 * budget + 180 + asked_compile_timeout(compile_timeout)
