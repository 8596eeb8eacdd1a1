"""The communicator of ranks that `mpiexec` started, by mpi4py. Importing this file starts MPI."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from ..files import one_line
from .communicator import CommunicationError, Request, wait

_LONGEST_NAME = 100


class MpiCommunicator:
    """The ranks of `MPI_COMM_WORLD`, with messages of their own.

    `watch` is called by everything that waits, and raises CommunicationError if a rank is lost.
    """

    def __init__(self, watch: Callable[[], None] = lambda: None) -> None:
        self._watch = watch
        # A duplicate: what a script sends in the world does not meet the messages of a run.
        self._world = _checked(MPI.COMM_WORLD.Dup)
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        self.library = one_line(MPI.Get_library_version().partition(",")[0], _LONGEST_NAME)
        names = self.gather(socket.gethostname().encode(errors="replace"))
        self.hosts: Sequence[str] = [one_line(name.decode(errors="replace"), _LONGEST_NAME) for name in names]

    def sum(self, array: NDArray[np.float32]) -> Request:
        """Start to replace a contiguous array by its sum over the ranks."""
        return _Running(_checked(lambda: self._world.Iallreduce(MPI.IN_PLACE, array, MPI.SUM)))

    def broadcast(self, array: NDArray[Any]) -> Request:
        """Start to replace a contiguous array by that of rank 0."""
        return _Running(_checked(lambda: self._world.Ibcast(array.view(np.uint8), 0)))

    def gather(self, message: bytes) -> list[bytes]:
        """Return the messages of all ranks."""
        lengths = np.zeros(self.size, np.int64)
        mine = np.array([len(message)], np.int64)
        self._wait(lambda: self._world.Iallgather(mine, lengths))
        ends = lengths.cumsum()
        everything = np.zeros(int(ends[-1]), np.uint8)
        to = [everything, lengths, ends - lengths, MPI.BYTE]
        self._wait(lambda: self._world.Iallgatherv([message, MPI.BYTE], to))
        return [part.tobytes() for part in np.split(everything, ends[:-1])]

    def check(self) -> None:
        """Raise CommunicationError if a rank is lost."""
        self._watch()

    def abort(self) -> None:
        """End all ranks at once."""
        self._world.Abort(1)

    def _wait(self, start: Callable[[], MPI.Request]) -> None:
        wait(_Running(_checked(start)), self._watch)


class _Running:
    def __init__(self, request: MPI.Request) -> None:
        self._request = request

    def is_done(self) -> bool:
        return bool(_checked(self._request.Test))


def _checked(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except MPI.Exception as error:
        raise CommunicationError(f"MPI failed: {one_line(error, _LONGEST_NAME)}") from error
