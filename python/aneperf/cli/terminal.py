"""What the `aneperf` command does for every probe: progress bar, table, JSON file and exit code."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Literal, NoReturn, TextIO

import rich.progress
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from .. import device as devices
from .._ane_native import Device
from ..errors import AneError
from ..report.table import Table, lay_out_result, to_rich, to_text
from ..results import Result, Row, check_writable
from ..runner.progress import Progress, Step

INTERRUPTED = 130


def run_probe(
    name: str,
    probe: Callable[[Device, Progress], Result],
    device: str | None,
    chip: str | None,
    json: Path | None,
    *,
    narrate: bool = False,
) -> NoReturn:
    """Run a probe, print its table and save it to `json`; Ctrl-C keeps the rows finished before.

    Progress is a bar in a terminal; elsewhere, if asked to `narrate`, a line for each thing that is begun.
    """
    to_stdout = json == Path("-")
    if json is not None and not to_stdout:
        check_writable(json)
    elif sys.stdout is None:
        raise AneError("standard output is closed: there is nowhere to write the result")
    opened = devices.open(device, chip=chip)
    with _one_interrupt():
        result, interrupted = _measure(name, probe, opened, narrate)
        try:
            if to_stdout:
                write(result.to_json().decode().rstrip("\n"), sys.stdout)
            elif json is not None:
                result.save(json)
        finally:  # a measurement is long: what cannot go one way still goes the other
            if not to_stdout:
                write(lay_out_result(result), sys.stdout)
            elif sys.stderr is not None:
                write(lay_out_result(result), sys.stderr)
        if interrupted:
            say("interrupted")
            raise typer.Exit(INTERRUPTED)
        raise typer.Exit(exit_code(result))


def _measure(
    name: str, probe: Callable[[Device, Progress], Result], device: Device, narrate: bool
) -> tuple[Result, bool]:
    """The result, and whether Ctrl-C cut it short."""
    rows: list[Row] = []
    with progress_bar() as bar:
        task = bar.add_task("", total=None)
        told = -1

        def report(step: Step) -> None:
            nonlocal told
            if step.row is not None:
                rows.append(step.row)  # before anything that takes time: an interrupt must not lose it
            if narrate and bar.disable and told < step.done < step.total:
                told = step.done
                say(f"{step.done + 1} of {step.total}: {step.doing}")
            bar.update(task, completed=step.done, total=step.total, description=step.doing, refresh=True)

        try:
            return probe(device, report), False
        except KeyboardInterrupt:
            note = "Interrupted: only the rows finished before are here."
            environment = devices.info(device)
            return Result(probe=name, environment=environment, rows=tuple(rows), notes=(note,)), True


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Let only the first Ctrl-C interrupt, to the end of the process: what it keeps must not be undone."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # a background job ignores it, and whoever handles it otherwise knows why
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def exit_code(result: Result) -> Literal[0, 1]:
    """1 if a row is in error, or if none could be measured."""
    statuses = {row.status for row in result}
    return 1 if "error" in statuses or "ok" not in statuses else 0


def write(content: Table | str, stream: TextIO | None) -> None:
    """Write all of it now, so that what cannot be written is an error here. Raises AneError."""
    if stream is None:
        raise AneError("cannot write the output: standard output is closed")
    try:
        if isinstance(content, Table) and stream.isatty():
            Console(file=stream).print(to_rich(content))
        else:
            print(content if isinstance(content, str) else to_text(content), file=stream)
        stream.flush()
    except OSError as error:
        raise AneError(f"cannot write the output: {error.strerror}") from error


def say(message: str) -> None:
    """A line on standard error, if there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"aneperf: {message}", file=sys.stderr)


def progress_bar() -> rich.progress.Progress:
    """A bar on standard error, for people only."""
    return rich.progress.Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=sys.stderr is None or not sys.stderr.isatty(),
    )
