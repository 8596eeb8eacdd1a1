"""Tell whether this process is one of several ranks, and open their communicator."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from ..errors import ArgumentError

if TYPE_CHECKING:
    from .communicator import Communicator

# The number of ranks, by launcher: Open MPI's mpiexec, and those that speak PMI, as MPICH's Hydra and Slurm.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_PMIX_RANK = "PMIX_RANK"  # of one that speaks PMIx, which tells no number; Slurm does
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", _PMIX_RANK)
_OF_SLURM = "SLURM_STEP_NUM_TASKS"
_OF_A_RANK = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "HYDI_", "HYDRA_", "MPI_LOCAL", "MPIR_CVAR_")


def is_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a launcher started this process as one of several, or may have."""
    return ranks_told(environment) != 1


def ranks_told(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return how many ranks a launcher says that it started; 1 without a launcher; None if it is unknown."""
    is_pmix = _PMIX_RANK in environment
    for name in (*_SIZES, *((_OF_SLURM,) if is_pmix else ())):
        if (told := environment.get(name, "")).isdecimal():
            return int(told)
    return None if is_pmix else 1


def rank_told(environment: Mapping[str, str] = os.environ) -> int:
    """Return this process's number among the ranks, as a launcher says; 0 without one."""
    told = (environment.get(name, "") for name in _RANKS)
    return next((int(rank) for rank in told if rank.isdecimal()), 0)


def without_launcher(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for a child that is no rank, though this process is one."""
    if not is_rank(environment):
        return dict(environment)
    return {name: value for name, value in environment.items() if not name.startswith(_OF_A_RANK)}


def open_communicator() -> Communicator:
    """Return the communicator of the ranks that a launcher started, or that of a process alone.

    The first call of each rank meets the others'. Raises ArgumentError if mpi4py is missing, and
    CommunicationError.
    """
    from .communicator import Alone  # which loads numpy: the command asks is_rank() at its start

    return _opened() if is_rank() else Alone()


def is_open() -> bool:
    """Tell whether this process has met the other ranks."""
    return _opened.cache_info().currsize > 0


@cache
def _opened() -> Communicator:
    from .cores import share_cores

    try:
        from .mpi import MpiCommunicator
    except ImportError as error:
        if ranks_told() is None:
            raise ArgumentError(
                f"a launcher set {_PMIX_RANK}, so this process may be one of several ranks, which need "
                f"mpi4py: {error}; pip install '.[mpi]', or, to train in this process alone, unset "
                f"{_PMIX_RANK}"
            ) from error
        raise ArgumentError(
            f"a launcher started this process as one of several, which need mpi4py: {error}; "
            "pip install '.[mpi]'"
        ) from error
    communicator = MpiCommunicator()
    if ranks_told() is None and rank_told() != communicator.rank:
        raise ArgumentError(
            f"a launcher says that this process is rank {rank_told()} ({_PMIX_RANK}), and mpi4py's MPI "
            f"({communicator.library}) that it is rank {communicator.rank} of {communicator.size}: start the "
            f"ranks with the mpiexec of that MPI, or, for a process alone, unset {_PMIX_RANK}"
        )
    if ranks_told() not in (None, communicator.size):
        raise ArgumentError(
            f"the launcher started {ranks_told()} ranks, and mpi4py's MPI ({communicator.library}) finds "
            f"{communicator.size}: start them with the mpiexec of that MPI"
        )
    share_cores(communicator)
    return communicator
