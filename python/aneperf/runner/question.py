"""Questions that probes of behavior ask: does the device compute this program right?"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import mil
from .._ane_native import Device
from ..checks import positive, shown
from ..device import info, opened
from ..errors import REFUSALS, ArgumentError, CompileBudgetError
from ..reference import evaluate
from ..reference.precision import Errors, compare, worst
from ..results import Result, Row
from .in_child import each_in_child
from .measured import Measured, refused
from .progress import Progress, ProgressCallback

_ITEM_LIMIT_S = 60.0  # for a compile that takes longer than any known small one
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Question:
    """A program, inputs for it, and the right outputs for each; `tolerance` is relative to the largest one.

    `departure` names a known wrong answer and gives its outputs: a device that gives it does not support
    what was asked. `lenient` accepts other headers of weight files. Without `strict`, the text is one that
    aneperf itself refuses: Apple's compiler is asked.
    """

    text: str
    weights: Mapping[str, bytes]
    inputs: Sequence[Arrays]
    expected: Sequence[Arrays]
    tolerance: float
    lenient: bool = field(default=False, kw_only=True)
    strict: bool = field(default=True, kw_only=True)
    departure: tuple[str, Sequence[Arrays]] | None = field(default=None, kw_only=True)

    def ask(self, device: Device) -> Measured:
        """Run the program and judge its outputs. Raises CompileBudgetError: another process can ask."""
        start = time.perf_counter()
        try:
            program = device.compile(
                self.text, self.weights, lenient_weights=self.lenient, strict=self.strict
            )
            metrics = {"compile_s": time.perf_counter() - start}
            with program:
                answers = [program.run(**arrays) for arrays in self.inputs]
        except CompileBudgetError:
            raise
        except REFUSALS as refusal:
            return refused(refusal)
        measured = judge(errors_of(answers, self.expected), self.tolerance, metrics)
        if measured.status == "error" and self.departure is not None:
            reason, departed = self.departure
            if judge(errors_of(answers, departed), self.tolerance, metrics).status == "ok":
                return Measured("unsupported", reason, metrics=metrics)
        return measured


def question_of(program: mil.Program, inputs: Sequence[Arrays], tolerance: float) -> Question:
    """Return the question whether a program computes what the float64 reference does."""
    expected = [evaluate(program, **arrays) for arrays in inputs]
    return Question(program.text, program.weights, inputs, expected, tolerance)


def errors_of(answers: Sequence[Arrays], expected: Sequence[Arrays]) -> list[Errors | None]:
    """Compare every output with the expected one; None for one that is not finite."""
    pairs = zip(answers, expected, strict=True)
    return [compare(answer[name], right[name]) for answer, right in pairs for name in right]


def judge(errors: Sequence[Errors | None], tolerance: float, metrics: dict[str, float]) -> Measured:
    """Judge errors: in error where one is larger than `tolerance`, or an output is not finite."""
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return Measured("error", "the output is not finite", metrics=metrics)
    found = worst(known)
    # Without rounding no result may differ: an error has no scale then.
    wrong = found.exact < 1 if tolerance == 0 else not found.relative <= tolerance
    metrics = {**metrics, **found.metrics(), "tolerance": tolerance}
    error = found.relative if np.isfinite(found.relative) else None
    if not wrong:
        return Measured("ok", error=error, metrics=metrics)
    explained = f"{tolerance:.2g} is documented" if tolerance else "it should be exact"
    reason = f"wrong output: off by {found.relative:.2g} of the largest result, where {explained}"
    return Measured("error", reason, error=error, metrics=metrics)


def chosen(names: Sequence[str] | None, known: Sequence[str], argument: str) -> list[str]:
    """Return the names, once each, or all that are known for None. Raises ArgumentError."""
    if names is None:
        return list(known)
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise ArgumentError(f"{argument} must be a list of names, not {shown(names)}")
    for name in names:
        if name not in known:
            raise ArgumentError(f"{argument}: there is no {shown(name)}: choose from {', '.join(known)}")
    return list(dict.fromkeys(names))


def ask_in_children(
    probe: str,
    function: Callable[..., Result],
    items: Sequence[str],
    device: Device | str | None,
    *,
    budget: float,
    progress: ProgressCallback | None,
    notes: tuple[str, ...] = (),
) -> Result:
    """Let `function`, which calls `ask_all` for a probe, answer the items in child processes."""
    positive("budget", budget)
    device = opened(device)
    rows = each_in_child(
        function,
        items,
        device,
        budget=budget,
        item_limit=_ITEM_LIMIT_S,
        lost=partial(_row, probe),
        progress=progress,
    )
    return Result(probe=probe, environment=info(device), rows=tuple(rows), notes=notes)


def ask_all(
    probe: str,
    question: Callable[[str], Question],
    items: Sequence[str],
    device: Device,
    progress: ProgressCallback,
) -> Result:
    """Ask the question of each item in this process. Raises CompileBudgetError when compiles run out."""
    rows: list[Row] = []
    for item in items:
        progress(Progress(len(rows), len(items), item))
        rows.append(_row(probe, item, question(item).ask(device)))
        progress(Progress(len(rows), len(items), item, rows[-1]))
    return Result(probe=probe, environment=info(device), rows=tuple(rows))


def _row(probe: str, item: str, measured: Measured) -> Row:
    group, _, name = item.partition("/")
    return measured.row(f"{probe}/{item}", {"group": group, "item": name})
