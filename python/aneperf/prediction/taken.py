"""Tell whether a compiler takes a program: a chip's own, and any engine's."""

from __future__ import annotations

from .. import _ane_native as native
from .. import mil
from ..chips import Chip
from ..errors import ProgramError
from ..files import LONGEST_QUOTE, one_line
from ..mil.half import CONVERT, computes_in_fp32

_ANY = "none"  # the profile that refuses only what every engine's compiler refuses


def taken_program(
    program: mil.Program, chip: Chip, name: str, *, fp16: bool = False
) -> tuple[mil.Program, str | None]:
    """Return the program whose time is predicted, and a note if the chip's compiler refuses the given one.

    What computes in fp32 is converted, with `fp16` or with a note. What no engine takes has no time: its
    shapes and arguments need not even fit each other. Raises ProgramError for it.
    """
    refused = native.check(program.text, program.weights, chip.profile)
    in_fp32 = any(computes_in_fp32(one.message) for one in refused)
    if not refused and not fp16:
        return program, None
    _require_engine(program, name)
    converted = mil.to_fp16(program, chip.profile) if fp16 or in_fp32 else program
    _require_engine(converted, name)
    if fp16:
        refused = native.check(converted.text, converted.weights, chip.profile)
    return converted, _note(refused, chip.name, in_fp32=in_fp32 and not fp16) if refused else None


def kernel_note(name: str, text: str, chip: Chip) -> str | None:
    """Return a note if a chip's compiler refuses a kernel of training, whatever its weights."""
    refused = native.check(text, None, chip.profile)
    if not refused:
        return None
    message = one_line(refused[0].message, LONGEST_QUOTE)
    return f"{chip.name}: the compiler refuses {name}: {message}. The time is what it would take otherwise."


def _require_engine(program: mil.Program, name: str) -> None:
    """Raise ProgramError for what no engine takes, but for operations in fp32."""
    refused = native.check(program.text, program.weights, _ANY)
    lasting = [one for one in refused if not computes_in_fp32(one.message)]
    if not lasting:
        return
    line = lasting[0].line
    if isinstance(program, mil.Fp16Program):
        line = program.origins.get(line, 0)
    place = f"{name}: line {line}" if line else name
    more = f". aneperf lint lists all {len(lasting)} reasons" if len(lasting) > 1 else ""
    raise ProgramError(
        f"{place}: {one_line(lasting[0].message, LONGEST_QUOTE)}: no engine runs this program, so it has no "
        f"time{more}"
    )


def _note(refused: list[native.Refusal], chip: str, *, in_fp32: bool) -> str:
    message = one_line(refused[0].message, LONGEST_QUOTE)
    more = f", and {len(refused) - 1} more, which aneperf lint lists" if len(refused) > 1 else ""
    time = (
        f"The time is that of the same in fp16. {CONVERT}."
        if in_fp32
        else "The time is what it would take if the compiler took it."
    )
    return f"{chip}: the compiler refuses the program: {message}{more}. {time}"
