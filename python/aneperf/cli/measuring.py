"""How the command runs a probe: progress, Ctrl-C, table, file and exit code."""

import contextlib
import math
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from .. import device as devices
from .._ane_native import Device
from ..checks import positive
from ..cluster.communicator import Alone, CommunicationError, Communicator
from ..cluster.launch import open_communicator
from ..cluster.together import check_same, together
from ..errors import AneError, ArgumentError, DeviceUnavailable, ProgramError, ResultFileError
from ..kinds import Kind
from ..outputs import check_output, form_of
from ..probes.probe import Probe
from ..probes.registry import SUITE
from ..report.result_table import lay_out_result
from ..results import Environment, Result, Row
from ..runner.in_child import run_in_child, time_limit_of
from ..runner.progress import Progress, ProgressCallback, silent
from ..runner.turns import taking_turns
from ..signals import Interrupted, at_first_signal, signal_of
from .options import is_printed
from .terminal import FAILED, end_interrupted, report_stream, save_result, say, terminal, write_table


def measure(
    probe: Probe,
    arguments: Mapping[str, Any],
    open_device: Callable[[], Device],
    output: str | None,
    *,
    verbose: bool = False,
    exports: Sequence[Callable[[Result], None]] = (),
) -> int:
    """Run a probe, print its table, save its result to `output` and by `exports`, and return the exit code.

    Ctrl-C, SIGTERM and SIGHUP keep the finished rows. Of a launcher's ranks only the first one has output.
    """
    ranks = open_communicator() if probe.is_collective else Alone()
    if ranks.rank > 0:
        return _take_part(probe, arguments, open_device, ranks)
    check_same(ranks, {"verb": probe.name})
    opened = together(ranks, lambda: _prepare(open_device, output))
    measurement = _Measurement(probe)
    with at_first_signal(measurement.stop), taking_turns():
        result = measurement.run(arguments, opened)
        # The last is written first; a measurement is long: if one fails, the others are still written.
        with contextlib.ExitStack() as outputs:
            if (stream := report_stream(output)) is not None:
                outputs.callback(write_table, lay_out_result(result, verbose=verbose), stream)
            for export in exports if result.rows else ():
                outputs.callback(export, result)
            if output is not None:
                outputs.callback(save_result, result, output)
    if measurement.stopped_by is not None:
        return end_interrupted(measurement.stopped_by)
    statuses = {row.status for row in result}
    return FAILED if "error" in statuses or "ok" not in statuses else 0


def _prepare(open_device: Callable[[], Device], output: str | None) -> Device:
    """Return the device, once it is known that the result can be written."""
    if output is not None and not is_printed(output):
        check_output(output, form_of(output, Kind.RESULT))
    elif sys.stdout is None:
        raise AneError("standard output is closed: there is nowhere to write the result")
    return open_device()


def _take_part(
    probe: Probe, arguments: Mapping[str, Any], open_device: Callable[[], Device], ranks: Communicator
) -> int:
    """Run a probe for the sake of rank 0, which has the output and the exit code, also for what is refused.

    A launcher kills rank 0, before it has told why, if another rank ends with an exit code of its own.
    """
    try:
        check_same(ranks, {"verb": probe.name})
        probe.run(together(ranks, open_device), progress=silent, **arguments)
    except CommunicationError:
        raise
    except KeyboardInterrupt as error:
        return 128 + signal_of(error)
    except AneError:
        pass
    return 0


_LONGEST_S = 86_400.0
# A child's errors that say that a verb cannot do what was asked; others are a row's.
_REFUSED = [error.__name__ for error in (ArgumentError, DeviceUnavailable, ProgramError, ResultFileError)]


class _Measurement:
    """A run of a probe, which a signal may cut short. What it finished is written all the same."""

    def __init__(self, probe: Probe) -> None:
        self.stopped_by: signal.Signals | None = None
        self._probe = probe
        self._rows: dict[str, Row] = {}
        self._environment: Environment | None = None
        self._is_running = False

    def stop(self, number: signal.Signals) -> None:
        """End the probe at once; afterwards, let the result be written."""
        self.stopped_by = number
        if self._is_running:
            raise Interrupted(number)

    def run(self, arguments: Mapping[str, Any], device: Device) -> Result:
        """Return the result, or that of the finished rows.

        A bar shows the progress in a terminal; elsewhere, for the suite, a line for each probe that begins.
        """
        with progress_bar() as bar:
            task = bar.add_task("", total=None)
            told = -1

            def report(step: Progress) -> None:
                nonlocal told
                if step.row is not None:  # once more after an interrupt, and after each of several processes
                    self._rows[step.row.key] = step.row  # before anything that takes time
                self._environment = step.environment or self._environment
                if step.note:
                    say(step.note)
                if self._probe is SUITE and bar.disable and told < step.done < step.total:
                    told = step.done
                    say(f"{step.done + 1} of {step.total}: {step.doing}")
                bar.update(task, completed=step.done, total=step.total, description=step.doing, refresh=True)

            try:
                self._is_running = self.stopped_by is None
                if self._is_running:
                    result = _run(self._probe, device, report, arguments)
                    self._is_running = False
                    return result
            except KeyboardInterrupt as error:
                self._is_running = False
                self.stopped_by = signal_of(error)
            return Result(
                probe=self._probe.name,
                environment=self._environment or devices.info(device),
                rows=tuple(self._rows.values()),
                notes=("Interrupted: only the finished rows are here.",),
            )


def _run(probe: Probe, device: Device, report: ProgressCallback, arguments: Mapping[str, Any]) -> Result:
    """Run a probe where a signal can always end it.

    A call of the engine's framework may never return, and a thread in it hears no signal. So a child makes
    the calls: one of the probe's own, or of this function's.
    """
    if not probe.in_child or device.info()["kind"] != "ane":
        return probe.run(device, progress=report, **arguments)
    times = [positive(name, value) for name, value in arguments.items() if isinstance(value, float)]
    limit = time_limit_of(max(times), device)
    # Energy takes more, by row: that it still reports is what tells that it does not hang.
    longest, quiet = (_LONGEST_S, limit) if arguments.get("energy") else (limit, math.inf)
    outcome = run_in_child(
        probe.load(), device, time_limit=longest, quiet_limit=quiet, progress=report, **arguments
    )
    if outcome.exception in _REFUSED:
        raise AneError(outcome.failure)
    environment = devices.info(device)
    return msgspec.structs.replace(outcome.as_result(probe.name, environment), environment=environment)


def progress_bar() -> rich.progress.Progress:
    """Return a bar that only a terminal on standard error shows."""
    stream = sys.stderr
    return rich.progress.Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True) if stream is None else Console(file=terminal(stream)),
        transient=True,
        disable=stream is None or not stream.isatty(),
    )
