"""Running a probe in a process of its own, which may crash, hang or spend its compiles without harm here.

The child is a new interpreter. It is told what to run as JSON on its standard input, and writes each step
as a line of JSON to a pipe of its own, so that what it prints does not matter and the rows it finished
outlive it.
"""

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from .._ane_native import CompileBudget, Device
from ..checks import positive
from ..device import name_of, opened
from ..errors import ArgumentError
from ..results import Environment, Result, Row, Status
from .child_process import Message, Task
from .progress import Progress, Step

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from aneperf.runner.child_process import main; "
    "main(int(sys.argv[2]))"
)
_STDERR_BYTES = 4096  # of which the last line becomes part of a reason
NO_TIME = "the time budget was spent: give more seconds"
_GRACE_S = 5.0  # for a child that has closed its pipes to end


@dataclass(frozen=True)
class Outcome:
    """What became of a child. `failure` tells why there is no `result`; `rows` are those it finished."""

    rows: tuple[Row, ...]
    result: Result | None = None
    failure: str | None = None
    exception: str | None = None  # the name of the exception that ended it, if one did
    doing: str = ""  # what it was at

    def as_result(self, probe: str, environment: Environment) -> Result:
        """The child's result; or its finished rows, and one in error that tells what happened."""
        if self.result is not None:
            return self.result
        status: Status = "skipped" if self.exception == "CompileBudgetError" else "error"
        at = f" at {self.doing}" if self.doing else ""
        lost = Row(key=f"{probe}/unfinished", status=status, reason=f"{self.failure}{at}")
        rows = [row for row in self.rows if row.key != lost.key]
        return Result(probe=probe, environment=environment, rows=(*rows, lost))


def run_in_child(
    function: Callable[..., Result],
    device: Device | str | None = None,
    *,
    time_limit: float,
    quiet_limit: float = math.inf,
    compile_budget: CompileBudget | None = None,
    progress: Progress | None = None,
    **arguments: Any,
) -> Outcome:
    """Call `function(device, progress=..., **arguments)` in a new process and pass on its steps.

    `function` is one of a module's top level, and `arguments` are what JSON holds. The child opens a device
    of the same kind for itself, with `compile_budget` or that of `device`, and no compiles used. It is killed
    after `time_limit` seconds, after `quiet_limit` without a step, and when this call is interrupted. No
    failure of the child raises; only what cannot be started does, as ArgumentError or OSError.
    """
    positive("time_limit", time_limit)
    device = opened(device)
    task = Task(_address(function), name_of(device), _limits(compile_budget or device), arguments)
    try:
        request = msgspec.json.encode(task) + b"\n"
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ArgumentError(f"{task.function}: an argument is not what JSON holds: {error}") from error
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as messages:
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(sys.path), str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(writing,),
            )
        finally:
            os.close(writing)
        with process:
            story = _Story(progress)
            try:
                return _attend(process, request, messages, story, time_limit, quiet_limit)
            except KeyboardInterrupt:
                _end(process, messages, story)
                raise
            finally:
                process.kill()


def each_in_child(
    function: Callable[..., Result],
    items: Sequence[str],
    device: Device | str | None = None,
    *,
    budget: float,
    item_limit: float,
    lost: Callable[[str, Status, str], Row],
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
    **arguments: Any,
) -> list[Row]:
    """A row for each item, from as many children as it takes, one after another.

    `function(device, items=..., budget=..., progress=...)` makes a row for each item in order, and raises
    CompileBudgetError where it cannot go on; another child then takes the rest. A child that dies, or spends
    more than `item_limit` seconds on an item, costs the item that it was at: its row is
    `lost(item, status, reason)`, as are those for which no time is left.
    """
    start, device = clock(), opened(device)
    report = progress or (lambda step: None)
    rows: list[Row] = []
    while len(rows) < len(items):
        finished, left = len(rows), budget - (clock() - start)
        if left <= 0:
            rows += [lost(item, "skipped", NO_TIME) for item in items[finished:]]
            break

        def pass_on(step: Step, before: int = finished) -> None:
            report(Step(before + step.done, len(items), step.doing, step.row))

        outcome = run_in_child(
            function,
            device,
            time_limit=left + item_limit,
            quiet_limit=item_limit,
            progress=pass_on,
            items=list(items[finished:]),
            budget=left,
            **arguments,
        )
        rows += (outcome.result.rows if outcome.result else outcome.rows)[: len(items) - finished]
        if len(rows) == len(items):
            break
        if outcome.exception == "CompileBudgetError" and len(rows) > finished:
            continue
        status: Status = "skipped" if outcome.exception == "CompileBudgetError" else "error"
        rows.append(lost(items[len(rows)], status, outcome.failure or "the child gave no row for it"))
        report(Step(len(rows), len(items), "", rows[-1]))
    return rows


def _limits(source: CompileBudget | Device) -> tuple[int, int]:
    budget = source if isinstance(source, CompileBudget) else getattr(source, "compile_budget", None)
    return (budget.soft, budget.hard) if isinstance(budget, CompileBudget) else _limits(CompileBudget())


def _address(function: Callable[..., Result]) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or module == "__main__" or not name.isidentifier():
        raise ArgumentError(
            f"{function!r} is not a function at the top level of a module that can be imported"
        )
    return f"{module}:{name}"


class _Story:
    """What a child has said so far."""

    def __init__(self, progress: Progress | None) -> None:
        self.rows: list[Row] = []
        self.doing = ""
        self.last: Message | None = None
        self._progress = progress
        self._rest = b""
        self._lines: deque[bytes] = deque()

    def hear(self, data: bytes) -> None:
        """Take in what came through the pipe. Raises MsgspecError and ValueError for what is no message."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(lines)
        while self._lines:  # an interrupt leaves the others for the next time
            message = msgspec.json.decode(self._lines.popleft(), type=Message)
            if message.step is None:
                self.last = message
                continue
            self.doing = message.step.doing
            self.rows += [message.step.row] if message.step.row is not None else []
            if self._progress is not None:
                self._progress(message.step)


def _attend(
    process: "subprocess.Popen[bytes]",
    request: bytes,
    messages: BinaryIO,
    story: _Story,
    time_limit: float,
    quiet_limit: float,
) -> Outcome:
    """Follow a child to its end. Its standard input stays open meanwhile: the child ends when it closes."""
    assert process.stdin is not None
    assert process.stderr is not None
    deadline, complaints = time.monotonic() + time_limit, b""
    with contextlib.suppress(BrokenPipeError):  # it died before it was told anything: its exit says how
        process.stdin.write(request)
        process.stdin.flush()
    failure: str | None = None
    with selectors.DefaultSelector() as selector:
        for pipe in (messages, process.stderr):
            selector.register(pipe, selectors.EVENT_READ)
        quiet_since = time.monotonic()
        while selector.get_map() and story.last is None and failure is None:
            now = time.monotonic()
            ready = selector.select(max(0.0, min(deadline, quiet_since + quiet_limit) - now))
            if not ready:
                ran = time.monotonic() >= deadline
                limit = (
                    f"ran longer than its {time_limit:g} s" if ran else f"was silent for {quiet_limit:g} s"
                )
                failure = f"killed: it {limit}"
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    complaints = (complaints + data)[-_STDERR_BYTES:]
                else:
                    quiet_since = time.monotonic()
                    try:
                        story.hear(data)
                    except (msgspec.MsgspecError, ValueError) as error:
                        failure = f"killed: it sent what cannot be read: {error}"
    if failure is not None:
        _end(process, messages, story)
    rows, last = tuple(story.rows), story.last
    if last is not None and last.result is not None:
        return Outcome(last.result.rows, last.result)
    if last is not None:
        return Outcome(rows, failure=last.text, exception=last.exception, doing=story.doing)
    if failure is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        failure = _ending(process.poll()) + _last_line(complaints)
    return Outcome(rows, failure=failure, doing=story.doing)


def _end(process: "subprocess.Popen[bytes]", messages: BinaryIO, story: _Story) -> None:
    """Kill a child and hear what it had said by then."""
    process.kill()
    process.wait()
    os.set_blocking(messages.fileno(), False)
    with contextlib.suppress(BlockingIOError, msgspec.MsgspecError, ValueError):
        story.hear(b"")
        while data := os.read(messages.fileno(), 1 << 16):
            story.hear(data)


def _ending(code: int | None) -> str:
    if code is None:
        return "killed: it closed its pipes and went on"
    if code >= 0:
        return f"its process ended with exit code {code} and no result"
    try:
        return f"its process was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"its process was killed by signal {-code}"


def _last_line(complaints: bytes) -> str:
    lines = [line.strip() for line in complaints.decode(errors="replace").splitlines()]
    said = next((line for line in reversed(lines) if line), "")
    return f": {said}" if said else ""
