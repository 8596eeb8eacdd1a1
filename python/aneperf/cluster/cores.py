"""Share the cores of a machine among the ranks on it."""

from __future__ import annotations

import os
from collections.abc import Set

import msgspec

from .. import _ane_native as native
from .communicator import Communicator

_THREADS = "ANEPERF_THREADS"
_OF_OPEN_MPI = "OMPI_COMM_WORLD_RANK"


class _Place(msgspec.Struct, frozen=True, array_like=True):
    host: str
    cores: set[int] | None  # that the rank may run on; None where the system does not say


def share_cores(communicator: Communicator) -> None:
    """Let each rank, and its workers, use an equal share of the cores that it has in common with others.

    A launcher may have bound the ranks to cores of their own; then each uses all of these. So does a rank
    whose ANEPERF_THREADS says how many threads it uses.
    """
    cores = _allowed()
    mine = _Place(communicator.hosts[communicator.rank], cores)
    decoder = msgspec.msgpack.Decoder(_Place)
    places = [decoder.decode(told) for told in communicator.gather(msgspec.msgpack.encode(mine))]
    sharing = sum(place.host == mine.host and _overlap(place.cores, cores) for place in places)
    if sharing > 1 and _THREADS not in os.environ:
        os.environ[_THREADS] = str(max(1, native.physical_cores() // sharing))


def narrow_binding(communicator: Communicator) -> str | None:
    """Say, if Open MPI binds this rank to fewer cores than its share of them, how to change that."""
    if _OF_OPEN_MPI not in os.environ:
        return None
    mine = _allowed()
    there = None if mine is None else _allowed(os.getppid())  # the launcher's, which it does not bind
    if mine is None or there is None:
        return None
    host = communicator.hosts[communicator.rank]
    if len(mine) >= len(there) // communicator.hosts.count(host):
        return None
    return (
        f"{host}: the launcher binds a rank to {len(mine)} of {len(there)} cores: "
        "start with mpiexec --bind-to none, and the ranks divide them all"
    )


def _allowed(process: int = 0) -> set[int] | None:
    if not hasattr(os, "sched_getaffinity"):
        return None
    try:
        return os.sched_getaffinity(process)
    except OSError:  # not of this user, or gone
        return None


def _overlap(some: Set[int] | None, others: Set[int] | None) -> bool:
    return some is None or others is None or bool(some & others)
