"""Run Python in ranks that mpiexec starts."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import environment

_BESIDE = Path(sys.executable).parent / "mpiexec"  # where the wheels of Open MPI and MPICH put it
MPIEXEC = str(_BESIDE) if _BESIDE.exists() else shutil.which("mpiexec")
_MISSING = (
    "mpiexec is missing"
    if MPIEXEC is None
    else "mpi4py is missing"
    if importlib.util.find_spec("mpi4py") is None
    else ""
)
needs_mpi = pytest.mark.skipif(bool(_MISSING), reason=_MISSING or "MPI is there")
_SECONDS = 120.0


def ranks_command(ranks: int, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs Python with these arguments in so many ranks."""
    assert MPIEXEC is not None
    return [MPIEXEC, "--oversubscribe", "-n", str(ranks), sys.executable, *arguments]


def ranks_environment(**variables: object) -> dict[str, str]:
    """Return the environment of such a command: Open MPI refuses root unless it is told twice."""
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": 1, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": 1}
    return environment(**allowed, ANEPERF_THREADS=1, **variables)


def run_in_ranks(
    ranks: int, arguments: Sequence[str], seconds: float = _SECONDS, **variables: object
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in so many ranks, and end all of them after the deadline."""
    return subprocess.run(
        ranks_command(ranks, arguments),
        env=ranks_environment(**variables),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def output_of_ranks(ranks: int, arguments: Sequence[str]) -> str:
    """Return what the ranks print; they must succeed."""
    run = run_in_ranks(ranks, arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout
