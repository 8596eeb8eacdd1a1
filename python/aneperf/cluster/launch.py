"""Tell whether this process is one of several ranks, and open their communicator."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from ..errors import ArgumentError

if TYPE_CHECKING:
    from .communicator import Communicator

# By launcher: Open MPI's mpiexec, those that speak PMI (MPICH's Hydra, Slurm), and PMIx alone.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_RANKS = ("PMIX_RANK",)
_OF_A_RANK = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "HYDI_", "HYDRA_", "MPI_LOCAL", "MPIR_CVAR_")


def is_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a launcher started this process as one of several."""
    sizes = [environment[name] for name in _SIZES if name in environment]
    return any(size != "1" for size in sizes) if sizes else any(name in environment for name in _RANKS)


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


@cache
def _opened() -> Communicator:
    from .cores import share_cores

    try:
        from .mpi import MpiCommunicator
    except ImportError as error:
        raise ArgumentError(
            f"a launcher started this process as one of several, which need mpi4py: {error}; "
            "pip install '.[mpi]'"
        ) from error
    communicator = MpiCommunicator()
    share_cores(communicator)
    return communicator
