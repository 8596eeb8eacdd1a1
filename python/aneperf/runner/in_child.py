"""Run a probe in a child process, which may crash, hang or spend its compiles without harm here."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import msgspec

from .._ane_native import CompileBudget, Device
from ..checks import positive
from ..device import name_of, opened
from ..device import open as open_device
from ..errors import AneError, ArgumentError, CompileBudgetError
from ..results import Environment, Result, Row, Status
from .child import Child, ChildLost
from .child_process import Parent
from .measured import Measured
from .progress import NO_TIME, Progress, ProgressCallback, silent

_GRACE_S = 1.0  # for the end of a child that was killed


class Task(msgspec.Struct, frozen=True):
    """A call that the child is to make."""

    function: str  # "module:name"
    device: str
    compile_budget: tuple[int, int]
    arguments: dict[str, Any]


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A report of progress, the result, or the exception that ended the call."""

    progress: Progress | None = None
    result: Result | None = None
    exception: str | None = None
    text: str = ""


@dataclass(frozen=True)
class Outcome:
    """The end of a child: its `result`, or the `failure` and the `rows` that it finished before."""

    rows: tuple[Row, ...]
    result: Result | None = None
    failure: str | None = None
    exception: str | None = None  # the name of the exception that ended the call, if one did
    doing: str = ""  # at the end

    def as_result(self, probe: str, environment: Environment) -> Result:
        """Return the child's result; or its finished rows, and one more with the reason of the failure."""
        if self.result is not None:
            return self.result
        at = f" at {self.doing}" if self.doing else ""
        lost = Row(key=f"{probe}/unfinished", status=self.status_of_lost, reason=f"{self.failure}{at}")
        rows = [row for row in self.rows if row.key != lost.key]
        return Result(probe=probe, environment=environment, rows=(*rows, lost))

    @property
    def ran_out_of_compiles(self) -> bool:
        """Return whether the child ended because its compiles were used up."""
        return self.exception == CompileBudgetError.__name__

    @property
    def status_of_lost(self) -> Status:
        """Return the status of a row that the child did not finish."""
        return "skipped" if self.ran_out_of_compiles else "error"


def run_in_child(
    function: Callable[..., Result],
    device: Device | str | None = None,
    *,
    time_limit: float,
    quiet_limit: float = math.inf,
    compile_budget: CompileBudget | None = None,
    progress: ProgressCallback | None = None,
    **arguments: Any,
) -> Outcome:
    """Call `function(device, progress=..., **arguments)` in a new process, and pass on its progress.

    `function` must stand at a module's top level, and JSON must hold the `arguments`. The child opens a
    device of the same kind, with `compile_budget` or that of `device`, and no compiles used. It is killed
    after `time_limit` seconds, after `quiet_limit` without a report, and when this call is interrupted. A
    failure of the child is an outcome. Raises ArgumentError or OSError for a child that cannot be started.
    """
    positive("time_limit", time_limit)
    device = opened(device)
    limits = device.compile_budget if compile_budget is None else compile_budget
    task = Task(_address(function), name_of(device), (limits.soft, limits.hard), arguments)
    try:
        msgspec.json.encode(task)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ArgumentError(f"{task.function}: an argument is not what JSON holds: {error}") from error
    with Child(_address(run_task), msgspec.json.Decoder(Message)) as child:
        conversation = _Conversation(child, progress)
        try:
            child.send(task)
            return conversation.follow(time_limit, quiet_limit)
        except ChildLost as lost:
            return conversation.outcome(str(lost))
        except KeyboardInterrupt:
            conversation.cut_short()
            raise


def run_task(parent: Parent) -> None:
    """Make the call, in the child."""
    try:
        task = parent.receive(msgspec.json.Decoder(Task))
        function: Callable[..., Result] = resolve_name(task.function)
        device = open_device(task.device, compile_budget=CompileBudget(*task.compile_budget))
        result = function(
            device, progress=lambda report: parent.send(Message(progress=report)), **task.arguments
        )
        parent.send(Message(result=result))
    except BaseException as error:
        name = type(error).__name__
        text = str(error) if isinstance(error, AneError) else f"{name}: {error}"
        parent.send(Message(exception=name, text=text))


def each_in_child(
    function: Callable[..., Result],
    items: Sequence[str],
    device: Device | str | None = None,
    *,
    budget: float,
    item_limit: float,
    lost: Callable[[str, Measured], Row],
    progress: ProgressCallback | None = None,
    clock: Callable[[], float] = time.monotonic,
    **arguments: Any,
) -> list[Row]:
    """Return a row for each item, measured in as many children as it takes, one after another.

    `function(device, items=..., budget=..., progress=...)` makes a row for each item in order. It raises
    CompileBudgetError when its compiles run out; another child then takes the rest. A child that dies, or
    spends more than `item_limit` seconds on an item, loses this item only. The row of an item that was lost,
    or for which no time is left, is `lost(item, measured)`.
    """
    start, device = clock(), opened(device)
    report = progress or silent
    rows: list[Row] = []
    while len(rows) < len(items):
        finished, left = len(rows), budget - (clock() - start)
        if left <= 0:
            rows += [lost(item, Measured("skipped", NO_TIME)) for item in items[finished:]]
            break

        def pass_on(progress: Progress, before: int = finished) -> None:
            report(Progress(before + progress.done, len(items), progress.doing, progress.row))

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
        if outcome.ran_out_of_compiles and len(rows) > finished:
            continue
        reason = outcome.failure or "the child gave no row for it"
        rows.append(lost(items[len(rows)], Measured(outcome.status_of_lost, reason)))
        report(Progress(len(rows), len(items), "", rows[-1]))
    return rows


def _address(function: Callable[..., object]) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or module == "__main__" or not name.isidentifier():
        raise ArgumentError(
            f"{function!r} is not a function at the top level of a module that can be imported"
        )
    return f"{module}:{name}"


class _Conversation:
    """The rows and reports that a child has sent so far."""

    def __init__(self, child: Child[Message], progress: ProgressCallback | None) -> None:
        self._child = child
        self._report = progress or silent
        self._rows: list[Row] = []
        self._doing = ""

    def follow(self, time_limit: float, quiet_limit: float) -> Outcome:
        """Follow the child to its end. Raises ChildLost."""
        heard = time.monotonic()
        deadline = heard + time_limit
        while True:
            try:
                if time.monotonic() >= deadline:  # also for a child that sends without pause
                    raise TimeoutError
                message = self._child.receive(min(deadline, heard + quiet_limit) - time.monotonic())
            except TimeoutError:
                ran = time.monotonic() >= deadline
                limit = (
                    f"ran longer than its {time_limit:g} s" if ran else f"was silent for {quiet_limit:g} s"
                )
                return self.cut_short() or self.outcome(f"killed: it {limit}")
            heard = time.monotonic()
            if (end := self._hear(message)) is not None:
                return end

    def cut_short(self) -> Outcome | None:
        """Kill the child, and hear what it had said by then, which may be its end."""
        self._child.kill()
        deadline = time.monotonic() + _GRACE_S
        with contextlib.suppress(ChildLost, TimeoutError):
            while (left_s := deadline - time.monotonic()) > 0:
                if (end := self._hear(self._child.receive(left_s))) is not None:
                    return end
        return None

    def outcome(self, failure: str, exception: str | None = None) -> Outcome:
        """Describe a child that gave no result."""
        return Outcome(tuple(self._rows), failure=failure, exception=exception, doing=self._doing)

    def _hear(self, message: Message) -> Outcome | None:
        if message.result is not None:
            return Outcome(message.result.rows, message.result)
        if message.exception is not None:
            return self.outcome(message.text, message.exception)
        if message.progress is not None:
            self._doing = message.progress.doing
            if message.progress.row is not None:
                self._rows.append(message.progress.row)
            self._report(message.progress)
        return None
