"""How the command runs a probe: progress, Ctrl-C, table, file and exit code."""

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, NoReturn

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from .. import device as devices
from .._ane_native import Device
from ..errors import AneError
from ..files import check_writable
from ..probes.registry import SUITE, Probe
from ..report.result_table import lay_out_result
from ..results import Result, Row
from ..runner.progress import Progress
from .options import STANDARD_OUTPUT
from .terminal import FAILED, INTERRUPTED, save, say, write_table


def measure(
    probe: Probe, arguments: Mapping[str, Any], device: str | None, chip: str | None, output: str | None
) -> int:
    """Run a probe, print its table, save its result to `output` and return the exit code.

    Ctrl-C keeps the finished rows.
    """
    to_stdout = output == STANDARD_OUTPUT
    if output is not None and not to_stdout:
        check_writable(output)
    elif sys.stdout is None:
        raise AneError("standard output is closed: there is nowhere to write the result")
    opened = devices.open(device, chip=chip)
    with _one_interrupt():
        result, interrupted = _measure(probe, arguments, opened)
        try:
            if output is not None:
                save(result.to_json().decode().rstrip("\n"), output)
        finally:  # a measurement is long: if one output fails, the other is still written
            if not to_stdout:
                write_table(lay_out_result(result), sys.stdout)
            elif sys.stderr is not None:
                write_table(lay_out_result(result), sys.stderr)
        if interrupted:
            say("interrupted")
            return INTERRUPTED
        statuses = {row.status for row in result}
        return FAILED if "error" in statuses or "ok" not in statuses else 0


def _measure(probe: Probe, arguments: Mapping[str, Any], device: Device) -> tuple[Result, bool]:
    """Return the result, and whether Ctrl-C cut it short.

    A bar shows the progress in a terminal; elsewhere, for the suite, a line for each probe that begins.
    """
    rows: list[Row] = []
    with _progress_bar() as bar:
        task = bar.add_task("", total=None)
        told = -1

        def report(step: Progress) -> None:
            nonlocal told
            if step.row is not None:
                rows.append(step.row)  # before anything that takes time: an interrupt must not lose it
            if probe is SUITE and bar.disable and told < step.done < step.total:
                told = step.done
                say(f"{step.done + 1} of {step.total}: {step.doing}")
            bar.update(task, completed=step.done, total=step.total, description=step.doing, refresh=True)

        try:
            return probe.run(device, progress=report, **arguments), False
        except KeyboardInterrupt:
            note = "Interrupted: only the finished rows are here."
            environment = devices.info(device)
            return Result(probe=probe.name, environment=environment, rows=tuple(rows), notes=(note,)), True


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Let only the first Ctrl-C interrupt; a later one must not undo what the first one keeps."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # a background job ignores it, and another handler has its reason
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


def _progress_bar() -> rich.progress.Progress:
    """Return a bar that only a terminal on standard error shows."""
    return rich.progress.Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=sys.stderr is None or not sys.stderr.isatty(),
    )
