"""The interface of an engine of communication, and the one of a run that has a single rank.

The interface is narrow, so that other engines than MPI fit behind it. Every rank makes the same calls in the
same order. No call blocks: what takes time returns a request, and `wait` waits for it with an end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import AneError

BUCKET_BYTES = 4 << 20  # of gradients; several sums at once are faster than one of everything
WAIT_S = 3600.0  # for ranks that may have to compile again, or to replace workers
_PIECE = 1 << 24  # values that are sent at once
_SPIN_S = 0.0002  # short messages arrive within this
_PAUSE_S = 0.0003  # between two looks: ranks that share cores with workers must not take them


class CommunicationError(AneError):
    """The ranks of a run cannot continue together. The message names the rank and its host, if known."""


class Request(Protocol):
    """A communication that runs."""

    def is_done(self) -> bool:
        """Let it progress, and tell if it has ended. Raises CommunicationError."""
        ...


class Communicator(Protocol):
    """The ranks of a run, as one of them sees them."""

    @property
    def rank(self) -> int:
        """Return this process's number, from 0."""
        ...

    @property
    def size(self) -> int:
        """Return the number of ranks."""
        ...

    @property
    def hosts(self) -> Sequence[str]:
        """Return the name of each rank's host."""
        ...

    @property
    def library(self) -> str:
        """Name the library that communicates, and its version."""
        ...

    def sum(self, array: NDArray[np.float32]) -> Request:
        """Start to replace a contiguous array by its sum over the ranks, the same bits on all of them.

        Nobody may touch the array before the request is done.
        """
        ...

    def broadcast(self, array: NDArray[Any]) -> Request:
        """Start to replace a contiguous array by that of rank 0."""
        ...

    def gather(self, message: bytes) -> list[bytes]:
        """Return the short messages of all ranks, in their order, once all have come here."""
        ...

    def check(self) -> None:
        """Raise CommunicationError if a rank is known to be lost; everything that waits calls this."""
        ...

    def watch(self, check: Callable[[bool], None] | None) -> None:
        """Let `check` be what raises where a rank is lost, or nothing.

        It is told whether a rank is known to have left.
        """
        ...


class Done:
    """A request without anything left to do."""

    def is_done(self) -> bool:
        """Return True."""
        return True


class Alone:
    """The communicator of a run with one rank."""

    rank, size, hosts, library = 0, 1, ("localhost",), "none"

    def sum(self, array: NDArray[np.float32]) -> Request:
        """Leave the array: it is the sum."""
        return Done()

    def broadcast(self, array: NDArray[Any]) -> Request:
        """Leave the array."""
        return Done()

    def gather(self, message: bytes) -> list[bytes]:
        """Return the message alone."""
        return [message]

    def check(self) -> None:
        """Return: there is nobody to lose."""

    def watch(self, check: Callable[[bool], None] | None) -> None:
        """Return: nobody watches."""


def wait(request: Request, check: Callable[[], None], seconds: float = WAIT_S) -> None:
    """Wait until a request is done; `check` may raise meanwhile. Raises CommunicationError at the end."""
    begin = time.monotonic()
    while not request.is_done():
        check()
        waited = time.monotonic() - begin
        if waited > seconds:
            raise CommunicationError(f"the other ranks did not answer within {seconds:.0f} s")
        if waited > _SPIN_S:
            time.sleep(_PAUSE_S)


def broadcast(communicator: Communicator, array: NDArray[np.float32]) -> None:
    """Replace a contiguous array by that of rank 0, in pieces that every engine takes."""
    flat = array.reshape(-1)
    for begin in range(0, flat.size, _PIECE):
        wait(communicator.broadcast(flat[begin : begin + _PIECE]), communicator.check)


def name_of(communicator: Communicator, rank: int) -> str:
    """Name a rank and its host, as in "rank 1 on studio.local"."""
    return f"rank {rank} on {communicator.hosts[rank]}"
