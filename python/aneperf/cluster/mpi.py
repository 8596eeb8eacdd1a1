"""The communicator of ranks that `mpiexec` started, by mpi4py. Importing this file starts MPI."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import mpi4py
import numpy as np
from numpy.typing import NDArray

from ..files import one_line
from .communicator import CommunicationError, Request, name_of, wait

mpi4py.rc.finalize = False  # see MpiCommunicator.close
mpi4py.rc.thread_level = "funneled"
# Rabenseifner's: parts are summed on each rank, then gathered. Open MPI's choice for 2 and 3 ranks reduces to
# one rank and broadcasts, which sends twice the bytes, one way at a time.
os.environ.setdefault("OMPI_MCA_coll_libnbc_iallreduce_algorithm", "3")
from mpi4py import MPI  # noqa: E402  which begins as `rc` says

_LONGEST_NAME = 100
_END = -1  # instead of the length of a message: the process ends
_TELL_S = 1.0  # that a rank waits before it leaves the others: they say why, and then the launcher ends them
_LOOKS = 10  # Open MPI looks at its sockets in every eighth only


class MpiCommunicator:
    """The ranks of `MPI_COMM_WORLD`, with messages of their own."""

    def __init__(self) -> None:
        self._check: Callable[[bool], None] | None = None
        self._is_broken = False
        self._running = 0  # requests that were not seen to end
        # A duplicate: what a script sends in the world does not meet the messages of a run.
        self._world = _checked(MPI.COMM_WORLD.Dup)
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        version = MPI.Get_library_version().splitlines()[0]
        self.library = one_line(version.partition(",")[0], _LONGEST_NAME)
        self.hosts: Sequence[str] = ["an unknown host"] * self.size
        names = self.gather(socket.gethostname().encode(errors="replace"))
        self.hosts = [one_line(name.decode(), _LONGEST_NAME) for name in names]
        atexit.register(self.close)

    def sum(self, array: NDArray[np.float32]) -> Request:
        """Start to replace a contiguous array by its sum over the ranks."""
        return self._started(lambda: self._world.Iallreduce(MPI.IN_PLACE, array, MPI.SUM))

    def broadcast(self, array: NDArray[Any]) -> Request:
        """Start to replace a contiguous array by that of rank 0."""
        return self._started(lambda: self._world.Ibcast(array.view(np.uint8), 0))

    def gather(self, message: bytes) -> list[bytes]:
        """Return the messages of all ranks."""
        lengths = self._lengths(len(message))
        for rank in np.flatnonzero(lengths == _END):
            self._is_broken = True
            if self._check is not None:
                self._check(True)
            raise CommunicationError(f"{name_of(self, int(rank))} ended before the others")
        ends = lengths.cumsum()
        everything = np.zeros(int(ends[-1]), np.uint8)
        to = [everything, lengths, ends - lengths, MPI.BYTE]
        self._wait(lambda: self._world.Iallgatherv([message, MPI.BYTE], to))
        return [part.tobytes() for part in np.split(everything, ends[:-1])]

    def check(self) -> None:
        """Raise CommunicationError if a rank is lost."""
        try:
            if self._check is not None:
                self._check(False)
        except CommunicationError:
            self._is_broken = True
            raise

    def watch(self, check: Callable[[bool], None] | None) -> None:
        """Let `check` raise CommunicationError if a rank is lost."""
        self._check = check

    def close(self) -> None:
        """End MPI once all ranks come here. If one is lost, or still wants to communicate, leave it open."""
        if self._running or self._is_broken or MPI.Is_finalized():
            return
        with contextlib.suppress(CommunicationError, KeyboardInterrupt):  # which end the process all the same
            if (self._lengths(_END) == _END).all():
                MPI.Finalize()
            else:
                time.sleep(_TELL_S)

    def _lengths(self, mine: int) -> NDArray[np.int64]:
        """Return the length of each rank's next message."""
        lengths = np.zeros(self.size, np.int64)
        self._wait(lambda: self._world.Iallgather(np.array([mine], np.int64), lengths))
        return lengths

    def _started(self, start: Callable[[], MPI.Request]) -> _Running:
        request = _Running(_checked(start), self._ended)
        self._running += 1
        return request

    def _ended(self) -> None:
        self._running -= 1

    def _wait(self, start: Callable[[], MPI.Request]) -> None:
        wait(self._started(start), self.check)


class _Running:
    """A request of MPI, which tells once that it has ended."""

    def __init__(self, request: MPI.Request, tell: Callable[[], None]) -> None:
        self._request, self._tell = request, tell
        self._is_done = False

    def is_done(self) -> bool:
        if not self._is_done and any(_checked(self._request.Test) for _ in range(_LOOKS)):
            self._is_done = True
            self._tell()
        return self._is_done


def _checked(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except MPI.Exception as error:
        raise CommunicationError(f"MPI failed: {one_line(error, _LONGEST_NAME)}") from error
