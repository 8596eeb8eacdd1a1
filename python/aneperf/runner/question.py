"""What probes of behaviour share: run a program once on arrays, and judge what it computes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import mil
from .._ane_native import Device
from ..errors import REFUSALS, ArgumentError, CompileBudgetError
from ..reference import evaluate
from ..reference.precision import Errors, compare, worst
from .timing import Fields, refused

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Question:
    """A program, inputs for it, and what it should answer to each; `tolerance` is relative to the largest.

    `departure` names a known one, and gives its answers: who gives those does not support what was asked.
    """

    text: str
    weights: Mapping[str, bytes]
    inputs: Sequence[Arrays]
    expected: Sequence[Arrays]
    tolerance: float
    lenient: bool = field(default=False, kw_only=True)  # towards the headers of weight files
    departure: tuple[str, Sequence[Arrays]] | None = field(default=None, kw_only=True)

    def ask(self, device: Device) -> Fields:
        """The fields of its row. Raises CompileBudgetError, for another process to go on."""
        start = time.perf_counter()
        try:
            program = device.compile(self.text, self.weights, lenient_weights=self.lenient)
            metrics = {"compile_s": time.perf_counter() - start}
            with program:
                answers = [program.run(**arrays) for arrays in self.inputs]
        except CompileBudgetError:
            raise
        except REFUSALS as refusal:
            return refused(refusal)
        fields = judge(_errors(answers, self.expected), self.tolerance, metrics)
        if fields["status"] == "error" and self.departure is not None:
            reason, expected = self.departure
            departed = judge(_errors(answers, expected), self.tolerance, metrics)
            if departed["status"] == "ok":
                return {"status": "unsupported", "reason": reason, "metrics": metrics}
        return fields


def _errors(answers: Sequence[Arrays], expected: Sequence[Arrays]) -> list[Errors | None]:
    pairs = zip(answers, expected, strict=True)
    return [compare(answer[name], right[name]) for answer, right in pairs for name in right]


def judge(errors: Sequence[Errors | None], tolerance: float, metrics: dict[str, float]) -> Fields:
    """The fields of a row of errors: in error where they are larger than `tolerance`."""
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return {"status": "error", "reason": "the output is not finite", "metrics": metrics}
    found = worst(known)
    # Nothing to round, so nothing may differ: an error has no scale.
    wrong = found.exact < 1 if tolerance == 0 else not found.relative <= tolerance
    fields: Fields = {"metrics": {**metrics, **found.metrics(), "tolerance": tolerance}}
    if np.isfinite(found.relative):
        fields["error"] = found.relative
    if not wrong:
        return {**fields, "status": "ok"}
    explained = f"{tolerance:.2g} is documented" if tolerance else "it should be exact"
    largest = f"{found.relative:.2g} of the largest result"
    return {**fields, "status": "error", "reason": f"wrong output: off by {largest}, where {explained}"}


def question_of(
    program: mil.Program, inputs: Sequence[Arrays], tolerance: float, *, lenient: bool = False
) -> Question:
    """The question whether a program computes what the float64 reference does."""
    expected = [evaluate(program, **arrays) for arrays in inputs]
    return Question(program.text, program.weights, inputs, expected, tolerance, lenient=lenient)


def chosen(names: Sequence[str] | None, known: Sequence[str], what: str) -> list[str]:
    """All that is known, or those named, once each. Raises ArgumentError."""
    if names is None:
        return list(known)
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise ArgumentError(f"{what} must be a list of names, not {names!r}")
    for name in names:
        if name not in known:
            raise ArgumentError(f"{what}: there is no {name!r}: choose from {', '.join(known)}")
    return list(dict.fromkeys(names))
