"""The `aneperf` command: its verbs by section, its errors and its exit codes."""

import os
import sys
import time

import click
from click.shell_completion import shell_complete

from .. import __version__
from ..cluster.launch import is_open, rank_told
from ..errors import AneError
from ..probes.registry import ALLREDUCE, BENCH, DOCTOR, PROBES, PROFILE, SUITE
from ..signals import at_first_signal, raise_interrupted, signal_of
from .ab import ab
from .comparing import compare, gate
from .predicting import predict
from .probes import info, probe_verb
from .programs import lint
from .reporting import report
from .results import export, validate
from .showing import dump, list_all, show_file
from .terminal import PIPE_CLOSED, REFUSED, end_interrupted, say, write
from .training import data, generate, train

_BY_WEIGHT = sorted(PROBES.values(), key=lambda probe: -probe.share)
SECTIONS = {
    "Measure": [info, list_all, *map(probe_verb, [DOCTOR, SUITE, *_BY_WEIGHT])],
    "Your programs": [probe_verb(BENCH), probe_verb(PROFILE), predict, lint],
    "Compare and report": [show_file, report, ab, compare, gate, dump, validate, export],
    "Train": [train, generate, data, probe_verb(ALLREDUCE)],
}
COMPLETION = "_ANEPERF_COMPLETE"
_RANK_0_S = 3.0  # for a rank to start and to tell an error


class _Verbs(click.Group):
    """The verbs in the sections' order."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and not context.resilient_parsing:
            import difflib

            near = difflib.get_close_matches(name, self.commands, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            context.fail(f"There is no verb {name!r}.{meant}")
        return super().resolve_command(context, args)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, self.commands))
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{verb.name:{longest}}", _first_paragraph(verb)) for verb in verbs])
        click.Command.format_options(self, context, formatter)


def _first_paragraph(verb: click.Command) -> str:
    return (verb.help or "").partition("\n\n")[0]


def _print_version(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked:
        write(f"aneperf {__version__}", sys.stdout)
        context.exit()


@click.group(
    cls=_Verbs,
    commands={verb.name: verb for verbs in SECTIONS.values() for verb in verbs if verb.name},
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    invoke_without_command=True,
    subcommand_metavar="VERB [ARGS]...",
    epilog=f"""\b
Completion of verbs and options, for your shell's startup file:
  bash  eval "$({COMPLETION}=bash_source aneperf)"
  zsh   eval "$({COMPLETION}=zsh_source aneperf)"
  fish  {COMPLETION}=fish_source aneperf | source""",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.pass_context
def app(context: click.Context) -> None:
    """Measure the Apple Neural Engine, or the software emulator if there is none.

    `aneperf VERB -h` lists a verb's options. With -o FILE a verb saves its result as JSON, or in the format
    of the name's ending: .csv, .md or .html. -o - prints JSON, and -o -.csv prints CSV.
    """
    if context.invoked_subcommand is None:
        write(context.get_help(), sys.stderr)
        context.exit(REFUSED)


def main() -> None:
    """Run the command and exit.

    The exit code is 0; 1 for rows in error, a gate that fails, or training without an update; 2 if the
    command cannot do what was asked; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP; 141 if the
    reader of the output is gone.
    """
    # The number of a closed stream would go to the next file, and what a library prints there into that file.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # A closed stream is None, and print() would take standard output in standard error's place.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    with at_first_signal(raise_interrupted) as signals:
        code = _run()
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:  # the interpreter must not try again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if signals.has_come:
            signals.ignore_more()
    sys.exit(code)


def _is_told_by_rank_0() -> bool:
    """Tell whether the launcher ends this rank because rank 0 has failed, before the ranks have met.

    Rank 0 needs time to report its error: a launcher may end it as soon as another rank ends with one. A rank
    that is still there afterwards reports its own error, which may be its alone.
    """
    if rank_told() == 0 or is_open():
        return False
    try:
        time.sleep(_RANK_0_S)
    except KeyboardInterrupt:  # the launcher's, once rank 0 has ended
        return True
    return False


def _run() -> int:
    try:
        if instruction := os.environ.get(COMPLETION):
            return shell_complete(app, {}, "aneperf", COMPLETION, instruction)
        with app.make_context("aneperf", sys.argv[1:]) as context:
            return app.invoke(context) or 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        if _is_told_by_rank_0():
            return REFUSED
        message = error.format_message()
        stop = "" if message.endswith((".", "?")) else "."
        verb = "".join(f" {word}" for word in sys.argv[1:2] if word in app.commands)
        say(f"{message[:1].lower()}{message[1:]}{stop} Try 'aneperf{verb} --help'.")
    except BrokenPipeError:
        return PIPE_CLOSED
    except KeyboardInterrupt as error:
        return end_interrupted(signal_of(error))
    except (AneError, OSError, MemoryError) as error:
        if _is_told_by_rank_0():
            return REFUSED
        say(str(error) or type(error).__name__)
    return REFUSED
