"""Run the aneperf command of two sides beside each other, in fresh processes, and merge what each measured.

A process of A and one of B take turns of 10 ms (`referee.py`), so a machine that changes its speed changes
both alike. Nothing goes through a shell.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ..errors import AneError, ArgumentError, ResultFileError
from ..files import one_line
from ..results import Environment, Result, Row
from .merging import merge
from .referee import Turns, ratios_of, referee
from .turns import VARIABLE

PROGRAM_SUFFIXES = (".mil", ".mlmodelc", ".mlpackage")
_GRACE_S = 10.0  # for a process to end and to write what it has
_ASK_S = 120.0  # for an interpreter to tell of its aneperf
_LONGEST = 300  # characters of a process's last words
# Asks an interpreter where its aneperf lies, and whether the verb is known and takes --processes.
_ASK = """
import json, sys
import aneperf
from aneperf.probes.registry import VERBS
verb = VERBS.get(sys.argv[1])
print(json.dumps([aneperf.__file__, verb is not None, bool(getattr(verb, "processes", None))]))
"""


@dataclass(frozen=True)
class Side:
    """An interpreter, and the model that its `bench` times, if the sides are models.

    `asked` finds out where its aneperf lies, and whether the verb takes --processes.
    """

    label: str
    python: str
    program: str | None = None
    package: str = ""
    takes_processes: bool = False

    def command(self, verb: str, options: Sequence[str]) -> list[str]:
        """Return the arguments of a process that runs the verb."""
        program = [] if self.program is None else [self.program]
        return [self.python, "-m", "aneperf", verb, *program, *options]

    def asked(self, verb: str) -> Side:
        """Return the side with what its interpreter tells of a verb. Raises ArgumentError."""
        try:
            asked = subprocess.run(
                [self.python, "-c", _ASK, verb],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                check=False,
                env=_environment(),
                text=True,
                errors="replace",
                timeout=_ASK_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            why = getattr(error, "strerror", None) or "it does not answer"
            raise ArgumentError(f"{self.label}: cannot run it: {why}") from None
        if "No module named 'aneperf'" in asked.stderr:
            raise ArgumentError(
                f"{self.label}: has no aneperf: install it there, or give another interpreter"
            )
        try:
            package, is_known, takes_processes = json.loads(asked.stdout.splitlines()[-1])
        except (ValueError, IndexError, TypeError):
            raise ArgumentError(
                f"{self.label}: is no Python with aneperf: {_last_line(asked.stderr)}"
            ) from None
        if not is_known:
            raise ArgumentError(f"{self.label}: its aneperf has no verb {verb!r} that measures")
        return replace(self, package=str(package), takes_processes=bool(takes_processes))


def find_side(name: str) -> Side:
    """Find what a name of the command line means: an interpreter, an environment's folder, or a model.

    Raises ArgumentError.
    """
    path = Path(name)
    file = name.rpartition(":")[0] if name.rpartition(":")[0].endswith(".py") else name
    if path.suffix in PROGRAM_SUFFIXES or file.endswith(".py"):
        if not os.path.exists(file):
            raise ArgumentError(f"{name}: there is no such model")
        return Side(name, sys.executable, os.path.abspath(name))
    if path.is_dir():
        python = path / "bin" / "python"
        if not os.access(python, os.X_OK):
            raise ArgumentError(f"{name}: is no environment: it has no bin/python")
        return Side(name, os.path.abspath(python))  # a link must stay one: it names the environment
    found = shutil.which(name)
    if found is None:
        raise ArgumentError(
            f"{name}: there is no such interpreter: give a Python, an environment's folder, or a model"
        )
    return Side(name, os.path.abspath(found))


@dataclass(frozen=True)
class MeasuredSides:
    """The merged results of two sides, and for each key of both the ratio that each pair of processes gave.

    A ratio is the time of the second side over that of the first one, by their turns. `environments` has that
    of each process of a side, in their order.
    """

    results: tuple[Result, Result]
    environments: tuple[tuple[Environment, ...], tuple[Environment, ...]]
    ratios: dict[str, tuple[float, ...]]


def measure_in_turns(
    sides: tuple[Side, Side],
    verb: str,
    options: Sequence[str],
    *,
    processes: int,
    budget: float,
    time_limit: float,
    report: Callable[[int], None],
) -> MeasuredSides:
    """Run the verb `processes` times for each side, and merge each side's rows by key.

    A process of each side runs at a time, and they take turns at making calls. `budget` is for each of them.
    Raises AneError for a run that gives no result.
    """
    found: tuple[list[Result], list[Result]] = ([], [])
    ratios: dict[str, list[float]] = {}
    for pair in range(processes):
        report(pair)
        results, turns = _run_pair(
            sides, verb, [*options, "--budget", f"{budget:g}"], time_limit, first=pair % 2
        )
        for side, result in zip(found, results, strict=True):
            side.append(result)
        for key, ratio in ratios_of(turns).items():
            ratios.setdefault(key, []).append(ratio)
    first, second = (tuple(result.environment for result in side) for side in found)
    return MeasuredSides(
        (_merged(found[0]), _merged(found[1])),
        (first, second),
        {key: tuple(values) for key, values in ratios.items()},
    )


def _merged(results: Sequence[Result]) -> Result:
    rows: dict[str, list[Row]] = {}
    for result in results:
        for row in result:
            rows.setdefault(row.key, []).append(row)
    merged = tuple(merge(same) for same in rows.values())
    return msgspec.structs.replace(results[0], rows=merged)


def _run_pair(
    sides: tuple[Side, Side], verb: str, options: Sequence[str], time_limit: float, first: int
) -> tuple[list[Result], Turns]:
    """Run the verb for both sides at once; return their results, and what their turns took."""
    common = str if sides[0].program is None else _without_name
    deadline = time.monotonic() + time_limit
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        runs = [
            stack.enter_context(_Run(side, verb, options, os.path.join(folder, str(place))))
            for place, side in enumerate(sides)
        ]
        turns = referee([run.channel for run in runs], common, time_limit=time_limit, first=first)
        return [run.result(deadline) for run in runs], turns


class _Run:
    """A process of one side: a context that ends it."""

    def __init__(self, side: Side, verb: str, options: Sequence[str], folder: str) -> None:
        os.mkdir(folder)
        self._side = side
        self._file = os.path.join(folder, "result.json")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the run
        self.channel, theirs = socket.socketpair()
        alone = ["--processes", "1"] if side.takes_processes else []
        with theirs:
            self._process = subprocess.Popen(
                side.command(verb, [*options, *alone, "-o", self._file]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env={**_environment(), VARIABLE: str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
            )

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self.channel.close()
        _end(self._process)
        self._errors.close()

    def result(self, deadline: float) -> Result:
        """Wait for the process, and return its result. Raises AneError."""
        label = self._side.label
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AneError(f"{label}: killed: it ran longer than it may") from None
        if not os.path.exists(self._file):
            self._errors.seek(0)
            said = _last_line(self._errors.read().decode(errors="replace"))
            raise AneError(f"{label}: gave no result: {said}")
        try:
            result = Result.load(self._file)
        except ResultFileError as error:
            why = str(error).partition(f"{self._file}: ")[2]
            raise AneError(f"{label}: its result cannot be read: {why}") from None
        if self._side.program is None:
            return result
        rows = [msgspec.structs.replace(row, key=_without_name(row.key)) for row in result]
        return msgspec.structs.replace(result, rows=tuple(rows))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, and give it time to end its own."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    process.kill()
    process.wait()


def _without_name(key: str) -> str:
    """Give rows of two models the same keys: without the model's name, a file's, which has no slash."""
    bench, _, *point = key.split("/")
    return "/".join([bench, *point])


def _environment() -> dict[str, str]:
    """Keep files of the current folder from being imported, where Python can (3.11)."""
    return {**os.environ, "PYTHONSAFEPATH": "1"}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return one_line(lines[-1], _LONGEST) if lines else "it said nothing"
