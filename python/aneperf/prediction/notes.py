"""Say what a prediction leaves open: of its chip, of the program's operations, of a training step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .. import _ane_native as native
from .. import mil
from ..chips import chips_of, find_chip
from ..chips.parameters import ChipParameters, parameters_of
from ..mil.call import OPERATIONS
from ..mil.graph import Operation
from .layers import SPARSE

_GROUPED = (
    "The rate of grouped convolutions is a guess from counters of one M4, with a wide interval: no published "
    "figure is of them alone."
)
_SPARSE = (
    "The engine saves time on the zeros of sparse weights. The prediction does not: it counts the bytes as "
    "stored, and all products."
)
_NOTABLE = 0.1  # of the time: a smaller part that is wrong changes little
_NAMED = 3  # operations, of those that no figure covers
# Operations that no published figure is of: by family, and one of the products.
_UNMEASURED_FAMILIES = {"movement", "window"}
_UNMEASURED = {"conv_transpose"}


def chip_notes(parameters: ChipParameters) -> Iterator[str]:
    """Say what no figure of the chip itself stands behind."""
    chip = parameters.chip
    if find_chip(chip).engines is None:
        yield f"{chip}: the number of its engines is not known. The time is that on one engine."
    family = [parameters_of(one).figures for one in chips_of(find_chip(chip).profile)]
    if not any(any(figures.values()) for figures in family):
        yield (
            f"{chip}: no figure of its engine's times is published, nor of its generation. The "
            "parameters are assumed, as docs/prediction.md says, with a wider interval."
        )
    elif parameters.is_inherited:
        yield (
            f"{chip}: no figure of its engine's times is published. The parameters are those of its "
            "generation, with a wider interval."
        )
    elif not _has_calls(chip):
        yield (
            f"{chip}: the figures are of other libraries. The cost of a call is assumed, as no figure of "
            "its generation is published, with a wider interval."
        )
    elif not parameters.figures["call"]:
        yield (
            f"{chip}: the figures are of other libraries. The cost of a call is that of its generation, "
            "with a wider interval."
        )


def operation_note(operation: Operation) -> str | None:
    """Say what the model does not know of an operation."""
    if operation.op == SPARSE:
        return _SPARSE
    groups = operation.arguments.get("groups")
    constant = groups.constant if isinstance(groups, mil.Tensor) else None
    is_grouped = constant is not None and not isinstance(constant, str) and int(constant) > 1
    return _GROUPED if is_grouped else None


def unmeasured_note(chip: str, times: Iterable[tuple[str, float]], call_ms: float) -> str | None:
    """Say which operations no figure covers, if they take much of a call; `times` are names and ms."""
    found: dict[str, float] = {}
    for op, ms in times:
        family = OPERATIONS[op].family if op in OPERATIONS else ""
        if ms and (family in _UNMEASURED_FAMILIES or op in _UNMEASURED):
            found[op] = found.get(op, 0.0) + ms
    if not found or sum(found.values()) < _NOTABLE * call_ms:
        return None
    names = sorted(found)
    others = ["others"] if len(names) > _NAMED else []
    return (
        f"{chip}: a tenth of the time or more is of operations that no published figure has: "
        f"{', '.join([*names[:_NAMED], *others])}. They are counted by what they move or compute, and the "
        "interval does not contain what that leaves open."
    )


def training_notes(programs: int) -> Iterator[str]:
    """Say what is known of training steps for which one process compiles `programs`."""
    most = native.CompileBudget().soft
    if programs > most:
        yield (
            f"A process may compile {most} programs, and this pipeline has {programs}: aneperf train refuses "
            "it. The dynamic one has 10."
        )
    yield (
        "The host's part of a step, which can be the larger one, is not predicted: this is the engine's "
        "alone."
    )


def _has_calls(chip: str) -> bool:
    """Tell whether a call by the private framework is fitted on a chip's generation."""
    return any(parameters_of(one).figures["call"] for one in chips_of(find_chip(chip).profile))
