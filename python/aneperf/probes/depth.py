"""Depth: how long a chain of convolutions compiles, each try in a child process with a deadline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from .._ane_native import Device
from ..checks import count, positive
from ..chips import profile_of
from ..device import compile_timeout_of, info, opened
from ..errors import REFUSALS, ArgumentError
from ..kernels.repeated_stack import OrthogonalStack
from ..linter.program_rules import crashing_length
from ..measure import analyze
from ..results import Environment, Result, Row
from ..runner.case import Case, StackCase
from ..runner.in_child import run_in_child
from ..runner.measured import Measured, Params, refused
from ..runner.progress import NO_TIME, Progress, ProgressCallback, reporter
from ..runner.timing import Loaded
from .registry import default_budget

CHANNELS, POSITIONS = 64, 64
MOST = 1024  # layers, where no limit is known
_FIRST = 64
_TRY_S = 60.0  # for one depth, besides the compile
_CRASHES = "h18g"  # an engine whose compiler crashes; an unknown one is taken to be like it
_DEEPEST = "deepest"


def depth(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("depth"),
    most: int | None = None,
    progress: ProgressCallback | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Compile chains of 1x1 convolutions, 64 channels, each twice as long, until one fails; then bisect.

    Every try has a process of its own, which is killed after the time of a compile; a program that compiles
    is run, and its output checked. Without `most`, the longest chain has 1,024 layers, or on an engine whose
    compiler is known to crash, one less than crashes: after such a crash its service can block every
    process. `budget` is in seconds of `clock`; what it does not allow leaves a range. Keys: "depth/conv64/64"
    for a chain, and "depth/conv64/deepest", whose metrics hold "layers" and whose params the "verdict", with
    the error of the shortest chain that failed.
    Raises ArgumentError, DeviceUnavailable.
    """
    end = clock() + positive("budget", budget)
    device = opened(device)
    environment = info(device)
    longest, why = bound_of(environment, most)
    search = _Search(device, longest, reporter(progress))
    search.run(lambda: clock() < end)
    rows = [*search.rows, search.conclude(why)]
    search.report(Progress(len(rows), len(rows), "", rows[-1]))
    notes = [f"Chains: {rows[-1].params.get('verdict', rows[-1].reason)}."]
    if environment.is_software:
        notes.insert(0, f"The {environment.device}'s compiler is aneperf's own: it has no limit of Apple's.")
    return Result(probe="depth", environment=environment, rows=tuple(rows), notes=tuple(notes))


def bound_of(environment: Environment, most: int | None) -> tuple[int, str]:
    """Return the longest chain to try, and why it is the longest. Raises ArgumentError."""
    if most is not None:
        return count("most", most, 1, 1 << 14), "as was asked"
    if environment.is_software:
        return MOST, "a bound of this probe"
    try:
        crashes = crashing_length(profile_of(environment.chip), CHANNELS)
    except ArgumentError:  # a chip that the table does not have
        crashes = crashing_length(_CRASHES, CHANNELS)
    if crashes is None:
        return MOST, "a bound of this probe"
    return crashes - 1, f"{crashes} crash the compiler for two engines (source: 751K's study of the M6)"


class _Search:
    """The tries so far: the longest chain that works, and the shortest that does not."""

    def __init__(self, device: Device, longest: int, report: ProgressCallback) -> None:
        self.rows: list[Row] = []
        self.report = report
        self._device = device
        self._longest = longest
        self._works = 0
        self._fails = longest + 1
        self._failure: Measured | None = None
        self._stopped = ""

    def run(self, has_time: Callable[[], bool]) -> None:
        """Double the length until a chain fails or none is longer, and halve the range then."""
        while self._fails - self._works > 1 and not self._stopped:
            if not has_time():
                self._stopped = NO_TIME
                return
            layers = min(max(_FIRST, 2 * self._works), self._longest)
            if self._failure is not None:
                layers = (self._works + self._fails) // 2
            self._try(layers)

    def conclude(self, why: str) -> Row:
        """Return the row of the deepest chain that works."""
        name: Params = {"config": "deepest"}
        key = f"depth/conv{CHANNELS}/{_DEEPEST}"
        if self._failure is None and not self._works:
            return Measured("skipped", self._stopped or NO_TIME).row(key, name)
        verdict = f"{self._works} layers compile, load and give the right output"
        if self._failure is not None:
            verdict += f"; {self._fails} do not: {self._failure.reason}"
            if self._stopped and self._fails - self._works > 1:
                verdict += f"; between them nothing was tried ({self._stopped})"
        elif self._stopped:
            verdict += f"; more were not tried ({self._stopped})"
        else:
            verdict += f", the most that were tried: {why}"
        metrics = {"layers": float(self._works)}
        return Measured("ok", metrics=metrics, params={"verdict": verdict}).row(key, name)

    def _try(self, layers: int) -> None:
        case = _case(layers)
        self.report(Progress(len(self.rows), len(self.rows) + _steps(self._works, self._fails), case.name))
        limit = _TRY_S + compile_timeout_of(self._device)
        outcome = run_in_child(try_chain, self._device, time_limit=limit, layers=layers)
        if outcome.result is not None:
            (row,) = outcome.result.rows
        else:
            row = case.row(Measured("unsupported", f"{outcome.failure}"))
        if row.status == "ok":
            self._works = layers
        else:
            self._fails, self._failure = layers, Measured(row.status, row.reason)
        if outcome.blocked:
            self._stopped = "no compile ends any more"
            row = case.row(Measured("error", outcome.failure))
        self.rows.append(row)
        self.report(Progress(len(self.rows), len(self.rows) + 1, case.name, row))


def _steps(works: int, fails: int) -> int:
    return 1 + math.ceil(math.log2(max(2, fails - works)))


def _case(layers: int) -> Case:
    stack = OrthogonalStack(CHANNELS, layers, width=POSITIONS)
    return StackCase(
        key=f"depth/conv{CHANNELS}/{layers}",
        kernel=stack,
        params={"config": stack.name, "layers": layers},
    )


def try_chain(device: Device, *, layers: int, progress: ProgressCallback) -> Result:
    """Compile, run and check a chain, in a child process."""
    case = _case(layers)
    try:
        with Loaded(device, case, time.perf_counter) as loaded:
            judged = loaded.judge(analyze(loaded.run(4)))
            kept = {"compile_ms", "load_ms", "compile_s"} & judged.metrics.keys()
            metrics = {name: judged.metrics[name] for name in kept}
            measured = Measured(judged.status, judged.reason, error=judged.error, metrics=metrics)
    except REFUSALS as refusal:
        # To fail is what is looked for. A wrong output is not: it stays an error.
        measured = replace(refused(refusal), status="unsupported")
    return Result(probe="depth", environment=info(device), rows=(case.row(measured),))
