"""A program of the user's own as a case: several ports, and a check against the float64 reference."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import _ane_native as native
from .. import mil
from ..bounds import FP16_LARGEST
from ..errors import ArgumentError
from ..files import LONGEST_QUOTE, one_line
from ..mil.work import Work, work_of
from ..reference import evaluate, evaluate_disturbed
from ..reference.precision import ROUNDING, compare
from ..results import Row
from .arrays import check_arrays, draw, read_arrays
from .case import Case, Judged
from .measured import Measured

Arrays = Mapping[str, NDArray[Any]]

# The tolerances of operations are twice the errors that others measured; this is room for another draw.
_ROOM = 2.0
CHANGES = "fp16"  # the parameter of a row that tells what a conversion changed
_VAGUE = 0.25  # of the largest result: an error that a wrong program may have too


class OwnProgram:
    """The kernel of a case: made when it is measured, and dropped afterwards, for weights are large.

    `inputs` are arrays by port, the path of an .npz file, or None for random values. Nothing is compared for
    a reason in `unchecked`.
    """

    def __init__(
        self,
        make: Callable[[], mil.Program],
        inputs: Arrays | str | os.PathLike[str] | None = None,
        unchecked: str = "",
    ) -> None:
        self._make = make
        self._source = inputs
        self._unchecked = unchecked
        self._program: mil.Program | None = None
        self._arrays: Arrays = {}
        self.flops = self.weight_bytes = self.port_bytes = self.batch = 0
        self.digest = self.changes = ""

    def build(self) -> mil.Program:
        """Make the program and count its work. Raises CompileError, ProgramError."""
        program = self._program = self._make()
        ports = [*program.inputs.values(), *program.outputs.values()]
        if not native.check(program.text):  # else the compiler says why
            self.flops = sum(work_of(mil.parse(program.text)).values(), Work()).flops
        self.weight_bytes = sum(map(len, program.weights.values()))
        self.port_bytes = sum(type.bytes for type in ports)
        firsts = {type.shape[0] for type in ports if type.shape}
        self.batch = firsts.pop() if len(firsts) == 1 else 0
        self.changes = str(program.changes) if isinstance(program, mil.Fp16Program) else ""
        self.digest = hashlib.sha256(program.text.encode()).hexdigest()[:16]
        return program

    def inputs(self) -> Arrays:
        """Return an array for each input of the program that was made. Raises ProgramError."""
        assert self._program is not None
        types = self._program.inputs
        if self._source is None:
            self._arrays = draw(types)
        elif isinstance(self._source, Mapping):
            check_arrays(self._source, types)
            self._arrays = self._source
        else:
            self._arrays = read_arrays(self._source, types)
        return self._arrays

    def judge(self, outputs: Arrays) -> Judged:
        """Compare the outputs with the reference; of several, the one that errs most for its tolerance."""
        if self._unchecked:
            return Judged(unchecked=self._unchecked)
        assert self._program is not None
        try:
            expected = evaluate(self._program, **self._arrays)
            # Both signs: an input that lies on a step, as of `round`, leaves it in one direction only.
            disturbed = [evaluate_disturbed(self._program, self._arrays, sign) for sign in (1, -1)]
        except (ArgumentError, ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            return Judged(unchecked=f"the reference cannot compute it: {one_line(error, LONGEST_QUOTE)}")
        judged = [
            _judge(outputs[name], expected[name], [outcome[name] for outcome in disturbed])
            for name in expected
        ]
        return max(judged, key=lambda one: (bool(one.unchecked), one.error / (one.tolerance or 1)))

    def drop(self) -> None:
        """Forget the program and its arrays."""
        self._program, self._arrays = None, {}


def _judge(
    output: NDArray[Any], expected: NDArray[np.float64], disturbed: Sequence[NDArray[np.float64]]
) -> Judged:
    if not (np.abs(expected) <= FP16_LARGEST).all():  # nor NaN
        return Judged(
            unchecked="fp16 does not hold the right values for these inputs: give others (--inputs)"
        )
    spreads = [compare(outcome, expected) for outcome in disturbed]
    relative = [math.inf if spread is None else spread.relative for spread in spreads]
    tolerance = _ROOM * max(ROUNDING, *relative)
    if not tolerance <= _VAGUE:
        return Judged(
            unchecked=f"rounding explains an error of {tolerance:.2g} of the largest result, as large as one "
            "of a wrong program"
        )
    found = compare(output, expected)
    return Judged(math.inf if found is None else found.relative, tolerance)


@dataclass(frozen=True)
class ProgramCase(Case):
    """The case of an OwnProgram."""

    kernel: OwnProgram

    def inputs(self) -> Arrays:
        """Return an array for each input of the program that was made. Raises ProgramError."""
        return self.kernel.inputs()

    def judge(self, outputs: Arrays) -> Judged:
        """Compare the outputs with the reference."""
        return self.kernel.judge(outputs)

    def row(self, measured: Measured) -> Row:
        """Return the row, with the program's work and the rates that follow from it."""
        kernel = self.kernel
        kernel.drop()
        row = super().row(measured)
        moved = kernel.weight_bytes + kernel.port_bytes
        metrics = {**row.metrics, "ports_mib": kernel.port_bytes / 2**20, "bytes": float(moved)}
        if row.status == "ok" and row.median:
            calls = 1000 / row.median
            metrics |= {"calls_per_s": calls, "gflop_per_s": kernel.flops * calls / 1e9}
            metrics |= {"gb_per_s": moved * calls / 1e9}
            metrics |= {"items_per_s": kernel.batch * calls} if kernel.batch else {}
        facts = {name: fact for name, fact in (("digest", kernel.digest), (CHANGES, kernel.changes)) if fact}
        return msgspec.structs.replace(row, metrics=metrics, params={**row.params, **facts})
