"""Do on all ranks what may fail on one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

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
    told = communicator.gather(b"" if failure is None else one_line(failure).encode(errors="replace"))
    if failure is not None:
        raise failure
    for rank, text in enumerate(told):
        if text:
            raise ArgumentError(f"{name_of(communicator, rank)}: {one_line(text.decode())}")
    return result  # type: ignore[return-value]  # which the success of `act` made
