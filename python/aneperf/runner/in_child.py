"""Run a probe in a child process, which may crash, hang or spend its compiles without harm here."""

import contextlib
import math
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import Any

import msgspec

from .. import mil
from .._ane_native import CompileBudget, Device
from ..checks import positive
from ..device import compile_timeout_of, info, name_of, opened
from ..device import open as open_device
from ..errors import AneError, ArgumentError, CompileBudgetError
from ..results import Environment, Result, Row, Status
from .child import Child, ChildLost, CompileExpired
from .child_process import Parent
from .measured import Measured
from .progress import NO_TIME, Progress, ProgressCallback, reporter, silent
from .turns import inherited_turns, taking_turns
from .watched import watched

# In the reason of every row that was lost or not tried because no compile ends any more.
BLOCKED = "the engine's service is blocked"
NOT_TRIED = f"not tried: {BLOCKED}"

_GRACE_S = 1.0  # for the end of a child that was interrupted or killed
# A probe's process is killed after this many times its budget, and these seconds and those of a compile more.
_PATIENCE = 2.0
_PATIENCE_S = 180.0
_CHECK_S = 30.0  # for the compile of a small program, which takes less than one
_LEAST_CHECK_S = 5.0  # the service may have to start first
_START_S = 60.0  # for the start of a child, and the rest of the check


class Task(msgspec.Struct, frozen=True):
    """A call that the child is to make."""

    function: str  # "module:name"
    device: str
    compile_budget: tuple[int, int]
    compile_timeout: float
    arguments: dict[str, Any]
    turns: int | None = None  # the inherited socket, if the calls are made in turns


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
    expired: CompileExpired | None = None  # a compile that did not end
    blocked: bool = False  # and no other one ends any more

    def as_result(self, probe: str, environment: Environment) -> Result:
        """Return the child's result; or its finished rows, and one more with the reason of the failure."""
        if self.result is not None:
            return self.result
        at = f" at {self.doing}" if self.doing and not self.expired else ""
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
        return "skipped" if self.ran_out_of_compiles or self.failure == NOT_TRIED else "error"


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
    after `time_limit` seconds, after `quiet_limit` without a report, after a compile's `compile_timeout`,
    which is the device's, and when this call is interrupted; `progress` may then get the last report twice.
    A failure of the child is an outcome; after a compile that did not end, it tells whether a small program
    still compiles.
    Raises ArgumentError or OSError for a child that cannot be started.
    """
    positive("time_limit", time_limit)
    device = opened(device)
    limits = device.compile_budget if compile_budget is None else compile_budget
    timeout = compile_timeout_of(device)
    budget = (limits.soft, limits.hard)
    task = Task(address_of(function), name_of(device), budget, timeout, arguments, inherited_turns())
    outcome = _run(task, time_limit, quiet_limit, progress)
    if outcome.expired is None:
        return outcome
    failure, blocked = after_expiry(outcome.expired, task.device)
    at = f"at {outcome.doing}: " if outcome.doing else ""
    return replace(outcome, failure=f"{at}{failure}", blocked=blocked)


def time_limit_of(budget: float, device: Device) -> float:
    """Return the time after which a probe with this budget hangs, in seconds."""
    return _PATIENCE * budget + _PATIENCE_S + compile_timeout_of(device)


def after_expiry(expired: CompileExpired, device: str) -> tuple[str, bool]:
    """Return what to tell of a compile that did not end, and whether all compiles are blocked now.

    Call it when the process is dead: it compiles a small program in another one.
    """
    if not device.startswith("ane"):
        return f"{expired} and was killed: give it more time (--compile-timeout)", False
    limit = min(_CHECK_S, max(_LEAST_CHECK_S, expired.seconds))
    task = Task(address_of(check_compiles), device, (2, 2), limit, {})
    check = _run(task, limit + _START_S, math.inf, None)
    blocked = check.result is None and check.exception is None
    if blocked:
        found = f"A small program does not compile either: {BLOCKED}, for every process, until you run"
    elif check.result is None:
        found = f"A small program fails ({check.failure}); if other programs hang, run"
    else:
        found = "A small program still compiles; if other programs hang, run"
    return (
        f"{expired} and was killed. {found}: sudo killall aned; sudo killall -9 ANECompilerService (it may "
        "go on, and fill the disk). A large program may need more time: --compile-timeout"
    ), blocked


def is_blocked(rows: Iterable[Row]) -> bool:
    """Tell whether a row says that no compile ends any more."""
    return any(BLOCKED in (row.reason or "") for row in rows)


def check_compiles(device: Device, *, progress: ProgressCallback) -> Result:
    """Compile a small program, one of a million, so that no cache is likely to have it."""
    factor, offset = (1 + secrets.randbelow(1024) / 1024 for _ in range(2))
    b = mil.Builder()
    b.output("y", mil.mul(b.input("x", (1, 32, 1, 32)), factor) + offset)
    with b.build().compile(device):
        return Result(probe="check", environment=info(device), rows=())


def _run(task: Task, time_limit: float, quiet_limit: float, progress: ProgressCallback | None) -> Outcome:
    """Run a task in a child. Raises ArgumentError, OSError."""
    try:
        msgspec.json.encode(task)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ArgumentError(f"{task.function}: an argument is not what JSON holds: {error}") from error
    decoder = msgspec.json.Decoder(Message)
    descriptors = [] if task.turns is None else [task.turns]
    with Child(
        address_of(run_task), decoder, compile_timeout=task.compile_timeout, descriptors=descriptors
    ) as child:
        conversation = _Conversation(child, progress)
        try:
            child.send(task)
            return conversation.follow(time_limit, quiet_limit)
        except CompileExpired as expired:
            return replace(conversation.outcome(str(expired)), expired=expired)
        except ChildLost as lost:
            return conversation.outcome(str(lost))
        except KeyboardInterrupt:
            conversation.interrupt()
            raise


def run_task(parent: Parent) -> None:
    """Make the call, in the child."""
    try:
        task = parent.receive(msgspec.json.Decoder(Task))
        function: Callable[..., Result] = resolve_name(task.function)
        device = open_device(
            task.device,
            compile_budget=CompileBudget(*task.compile_budget),
            compile_timeout=task.compile_timeout,
        )
        with taking_turns(task.turns):
            result = function(
                watched(device, parent),
                progress=lambda report: parent.send(Message(progress=report)),
                **task.arguments,
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
    spends more than `item_limit` seconds on an item besides a compile, loses this item only. The row of an
    item that was lost, or for which no time is left, is `lost(item, measured)`; so are the rows that are left
    when no compile ends any more.
    """
    start, device = clock(), opened(device)
    item_limit += compile_timeout_of(device)
    report = reporter(progress)
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
        if outcome.blocked:
            rows += [lost(item, Measured("skipped", NOT_TRIED)) for item in items[len(rows) :]]
    return rows


def address_of(function: Callable[..., object]) -> str:
    """Return the "module:name" of a function. Raises ArgumentError for one that another process lacks."""
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
                return self.kill() or self.outcome(f"killed: it {limit}")
            heard = time.monotonic()
            if (end := self._hear(message)) is not None:
                return end

    def interrupt(self) -> None:
        """Ask the child to end, kill it if it does not, and hear what it still says."""
        self._child.interrupt()
        end, deadline = None, time.monotonic() + _GRACE_S
        with contextlib.suppress(ChildLost, TimeoutError):
            while end is None and (left_s := deadline - time.monotonic()) > 0:
                end = self._hear(self._child.receive(left_s))
        if end is None:
            self.kill()

    def kill(self) -> Outcome | None:
        """Kill the child, and hear what it had said by then, which may be its end."""
        self._child.kill()
        with contextlib.suppress(ChildLost, TimeoutError):
            while True:
                if (end := self._hear(self._child.receive(_GRACE_S))) is not None:
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
            self._report(message.progress)  # an interrupt in here lets it come once more
            if message.progress.row is not None:
                self._rows.append(message.progress.row)
            self._child.forget()
        return None
