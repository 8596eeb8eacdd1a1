"""Run the aneperf command of two sides in turns, each time in a fresh process, and merge what each measured.

The order is A, B, B, A, A, B, ...: a machine that grows slower slows both sides alike. Nothing goes through
a shell.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ..errors import AneError, ArgumentError, ResultFileError
from ..files import one_line
from ..results import Result, Row
from .merging import merge

PROGRAM_SUFFIXES = (".mil", ".mlmodelc", ".mlpackage")
_BENCH = "bench"
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


def measure_in_turns(
    sides: tuple[Side, Side],
    verb: str,
    options: Sequence[str],
    *,
    processes: int,
    budget: float,
    time_limit: float,
    report: Callable[[int, str], None],
) -> tuple[Result, Result]:
    """Run the verb `processes` times for each side, in turns, and merge each side's rows by key.

    `budget` is for each run. Raises AneError for a run that gives no result.
    """
    found: tuple[list[Result], list[Result]] = ([], [])
    for turn in range(2 * processes):
        place = (turn + turn // 2) % 2
        report(turn, sides[place].label)
        alone = ["--processes", "1"] if sides[place].takes_processes else []
        found[place].append(
            _run(sides[place], verb, [*options, "--budget", f"{budget:g}", *alone], time_limit)
        )
    return _merged(found[0]), _merged(found[1])


def _merged(results: Sequence[Result]) -> Result:
    rows: dict[str, list[Row]] = {}
    for result in results:
        for row in result:
            rows.setdefault(row.key, []).append(row)
    merged = tuple(merge(same) for same in rows.values())
    return msgspec.structs.replace(results[0], rows=merged)


def _run(side: Side, verb: str, options: Sequence[str], time_limit: float) -> Result:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        file = os.path.join(folder, "result.json")
        process = subprocess.Popen(
            side.command(verb, [*options, "-o", file]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=_environment(),
        )
        try:
            process.wait(time_limit)
        except subprocess.TimeoutExpired:
            raise AneError(f"{side.label}: killed: it ran longer than {time_limit:g} s") from None
        finally:
            _end(process)
        if not os.path.exists(file):
            errors.seek(0)
            said = _last_line(errors.read().decode(errors="replace"))
            raise AneError(f"{side.label}: gave no result: {said}")
        try:
            result = Result.load(file)
        except ResultFileError as error:
            why = str(error).partition(f"{file}: ")[2]
            raise AneError(f"{side.label}: its result cannot be read: {why}") from None
    return result if side.program is None else _without_name(result)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, and give it time to end its own."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    process.kill()
    process.wait()


def _without_name(result: Result) -> Result:
    """Give rows of two models the same keys: without the model's name."""
    rows = [
        msgspec.structs.replace(
            row, key=_BENCH + row.key.removeprefix(f"{_BENCH}/{row.params.get('program')}")
        )
        for row in result
    ]
    return msgspec.structs.replace(result, rows=tuple(rows))


def _environment() -> dict[str, str]:
    """Keep files of the current folder from being imported, where Python can (3.11)."""
    return {**os.environ, "PYTHONSAFEPATH": "1"}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return one_line(lines[-1], _LONGEST) if lines else "it said nothing"
