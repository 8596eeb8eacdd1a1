"""Do on all ranks what may fail on one, and compare what must be the same on all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from ..errors import ArgumentError
from ..files import one_line
from .communicator import Communicator, name_of

_T = TypeVar("_T")


def together(communicator: Communicator, act: Callable[[], _T]) -> _T:
    """Act on every rank, and return this rank's result once all have succeeded.

    Raises this rank's error, or ArgumentError with that of the first rank that failed.
    """
    failure, result = None, None
    try:
        result = act()
    except Exception as error:
        failure = error
    told = communicator.gather(b"" if failure is None else _text(failure).encode(errors="replace"))
    if failure is not None:
        raise failure
    for rank, text in enumerate(told):
        if text:
            raise ArgumentError(f"{name_of(communicator, rank)}: {one_line(text.decode())}")
    return result  # type: ignore[return-value]  # which the success of `act` made


def check_same(communicator: Communicator, facts: Mapping[str, str]) -> None:
    """Raise ArgumentError on all ranks if a fact differs from rank 0's; the first one that does is told.

    The facts of a rank that sends something else are unknown.
    """
    told = [_facts(message) for message in communicator.gather(msgspec.json.encode(facts))]
    for name in facts:
        for rank, other in enumerate(told):
            if (here := other.get(name, "unknown")) != (first := told[0].get(name, "unknown")):
                raise ArgumentError(
                    f"{name_of(communicator, rank)} has another {name} than {name_of(communicator, 0)}: "
                    f"{one_line(here)}, not {one_line(first)}"
                )


def _facts(message: bytes) -> dict[str, str]:
    try:
        return msgspec.json.decode(message, type=dict[str, str])
    except (ValueError, RecursionError):
        return {}


def _text(error: Exception) -> str:
    return one_line(error) or type(error).__name__
