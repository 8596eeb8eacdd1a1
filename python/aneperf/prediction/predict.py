"""Predict the time of a program on a chip, with an interval and with what bounds each operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from .. import mil
from ..checks import shown
from ..chips import Chip, find_chip
from ..chips.cost import Bound, Call, Term, time_dispatch, time_layer
from ..chips.parameters import ChipParameters, PredictedTime, parameters_of
from ..display import Displayed
from ..errors import ArgumentError
from ..mil.graph import Operation
from ..mil.template import AxisValue, Source, template_of
from .layers import layers_of
from .notes import chip_notes, operation_note, unmeasured_note
from .taken import taken_program

_BOUNDS = get_args(Bound)


@dataclass(frozen=True)
class OperationTime:
    """The predicted time of an operation, `count` times in a call, and what bounds it.

    "fused" is done on the way of another operation, at no cost of its own.
    """

    name: str  # of its first result
    op: str
    ms: PredictedTime  # of all `count`
    bound: str  # a Bound, or "fused"
    flops: int = 0
    bytes: int = 0
    count: int = 1


@dataclass(frozen=True, repr=False)
class Prediction(Displayed):
    """The predicted time of a call on a chip by the private framework, warm and alone on its machine.

    `parts` are the ms of each bound; `bound` is the largest of them. `ms` and the operations' times are
    `PredictedTime`s: `value`, and `low` to `high`, which should hold 90 % of measured times.
    """

    program: str
    chip: str
    ms: PredictedTime
    bound: Bound
    parts: Mapping[Bound, float]
    operations: tuple[OperationTime, ...]
    notes: tuple[str, ...] = ()
    unit: str = "call"  # of which `ms` is the time

    def to_dicts(self) -> list[dict[str, object]]:
        """Return a record of the whole, with the notes, then one of each operation."""
        whole = OperationTime(self.program, self.unit, self.ms, self.bound)
        records: list[dict[str, object]] = [
            {
                "prediction": self.program,
                "chip": self.chip,
                "operation": one.name,
                "op": one.op,
                "count": one.count,
                "ms": one.ms.value,
                "low_ms": one.ms.low,
                "high_ms": one.ms.high,
                "bound": one.bound,
            }
            for one in (whole, *self.operations)
        ]
        records[0]["notes"] = " ".join(self.notes)
        return records


def predict(
    program: Source,
    chip: str | Chip,
    *,
    axes: Mapping[str, AxisValue] | None = None,
    fp16: bool = False,
) -> Prediction:
    """Predict the time of a call of a program on a chip, such as "M4 Max", without running it.

    `program` is what `aneperf.bench` takes, and `axes` are a template's parameters. `fp16` converts what
    computes in fp32 first. docs/prediction.md says how good predictions are.
    Raises ArgumentError, CompileError, ProgramError, ResultFileError.
    """
    return predict_on(program, [chip], axes=axes, fp16=fp16)[0]


def predict_on(
    program: Source,
    chips: Iterable[str | Chip],
    *,
    axes: Mapping[str, AxisValue] | None = None,
    fp16: bool = False,
) -> list[Prediction]:
    """Predict the time of a program on each of several chips; it is read once."""
    found = [_known(chip) for chip in chips]
    if axes is not None and not isinstance(axes, Mapping):
        raise ArgumentError(f"axes are a mapping of names to values, not {shown(axes)}")
    template = template_of(program)
    point = dict(axes or {})
    template.check_axes(point)
    made = template.program(**point)
    name = "/".join([template.name, *(f"{axis}={value}" for axis, value in point.items())])
    predictions = []
    for one in found:
        taken, note = taken_program(made, one, name, fp16=fp16)
        predictions.append(Predictor(parameters_of(one)).predict(taken, name, note))
    return predictions


def _known(chip: str | Chip) -> Chip:
    """Return a chip of the catalog, which alone has parameters. Raises ArgumentError for another one."""
    known = find_chip(chip.name if isinstance(chip, Chip) else chip)
    if isinstance(chip, Chip) and chip != known:
        raise ArgumentError(f"{shown(chip.name)} differs from the chip of this name: give its name alone")
    return known


@dataclass
class Predictor:
    """Predicts calls on one chip."""

    parameters: ChipParameters
    notes: list[str] = field(default_factory=list)

    def predict(self, program: mil.Program, name: str, note: str | None = None) -> Prediction:
        """Predict the time of a call of a program that an engine takes. `note` is added to the others."""
        operations, terms = self.call(program)
        times = [(one.op, one.ms.value) for one in operations]
        self.add_note(unmeasured_note(self.parameters.chip, times, sum(term.ms for term in terms)))
        self.add_note(note)
        return self.join(name, operations, terms)

    def call(self, program: mil.Program) -> tuple[list[OperationTime], list[Term]]:
        """Return the operations of a program, and the terms of a call of it."""
        parameters, graph = self.parameters, mil.parse(program.text)
        operations, terms = list[OperationTime](), list[Term]()
        for statement in graph.statements:
            self.add_note(operation_note(statement) if isinstance(statement, Operation) else None)
        for operation, work, layers in layers_of(graph):
            own = [t for layer in layers for t in time_layer(layer, parameters.values, parameters.traits)]
            terms += own
            bound = bound_of(own) if own else "fused"
            operations.append(
                OperationTime(
                    operation.results[0].name,
                    operation.op,
                    parameters.interval(own),
                    bound,
                    work.flops,
                    work.bytes,
                )
            )
        task_ms = sum(term.ms for term in terms)
        call = Call(ports=len(graph.inputs) + len(graph.outputs))
        return operations, [*time_dispatch(call, parameters.values, task_ms), *terms]

    def join(
        self, name: str, operations: Sequence[OperationTime], terms: Sequence[Term], unit: str = "call"
    ) -> Prediction:
        """Return the prediction of terms that add up."""
        parts = {bound: sum(term.ms for term in terms if term.bound == bound) for bound in _BOUNDS}
        return Prediction(
            name,
            self.parameters.chip,
            self.parameters.interval(list(terms)),
            bound_of(terms),
            parts,
            tuple(operations),
            (*chip_notes(self.parameters), *self.notes),
            unit,
        )

    def add_note(self, note: str | None) -> None:
        """Add a note, once."""
        if note is not None and note not in self.notes:
            self.notes.append(note)


def bound_of(terms: Iterable[Term]) -> Bound:
    """Return what most of the time goes to."""
    sums: dict[Bound, float] = {}
    for term in terms:
        sums[term.bound] = sums.get(term.bound, 0.0) + term.ms
    return max(sums, key=lambda bound: sums[bound])
