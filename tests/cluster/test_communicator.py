"""The interface of an engine of communication: by MPI, in processes of mpiexec, and of a process alone."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

from aneperf.cluster import launch
from aneperf.cluster.communicator import Alone, CommunicationError, name_of, wait
from aneperf.cluster.launch import is_rank, open_communicator, rank_told, without_launcher
from aneperf.errors import ArgumentError
from support.mpi import needs_mpi, output_of_ranks
from support.ranks import run_ranks


def test_a_rank_alone_is_its_own_sum() -> None:
    alone, values = Alone(), np.arange(3, dtype=np.float32)
    for request in (alone.sum(values), alone.broadcast(values)):
        assert request.is_done()
    np.testing.assert_array_equal(values, [0, 1, 2])
    assert alone.gather(b"x") == [b"x"]
    assert (alone.rank, alone.size, len(alone.hosts)) == (0, 1, 1)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": "0"}, False),
        ({"PMI_SIZE": "4", "PMI_RANK": "3"}, True),
        ({"PMIX_RANK": "1"}, True),
        ({"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "8"}, True),
        ({"SLURM_STEP_NUM_TASKS": "8"}, False),  # a shell that srun started, or no MPI
        ({"OMPI_MCA_btl": "self"}, False),
    ],
)
def test_a_launcher_is_known_by_its_variables(variables: dict[str, str], expected: bool) -> None:
    assert is_rank(variables) == expected


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, 0),
        ({"OMPI_COMM_WORLD_RANK": "0"}, 0),
        ({"OMPI_COMM_WORLD_RANK": "2", "PMIX_RANK": "2"}, 2),
        ({"PMI_RANK": "3"}, 3),
        ({"PMIX_RANK": "1"}, 1),
        ({"PMIX_RANK": "x"}, 0),
    ],
)
def test_a_launcher_tells_the_rank(variables: dict[str, str], rank: int) -> None:
    assert rank_told(variables) == rank


class _Mpi(ModuleType):
    """Stands for cluster/mpi.py: a process that its MPI finds alone."""

    class MpiCommunicator(Alone):
        library = "Some MPI 1"


def test_a_rank_that_mpi_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the number of ranks, each of several would train alone, into the same files."""
    for name in ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_SIZE", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "aneperf.cluster.mpi", _Mpi("mpi"))
    monkeypatch.setattr("aneperf.cluster.cores.share_cores", lambda ranks: None)
    monkeypatch.setenv("PMIX_RANK", "1")
    open_rank = launch._opened.__wrapped__  # without its cache
    told = r"this process is rank 1 \(PMIX_RANK\), and mpi4py's MPI \(Some MPI 1\) that it is rank 0 of 1: "
    with pytest.raises(ArgumentError, match=told):
        open_rank()
    monkeypatch.setenv("PMIX_RANK", "0")
    assert open_rank().size == 1
    monkeypatch.setitem(sys.modules, "aneperf.cluster.mpi", None)
    with pytest.raises(ArgumentError, match="to train in this process alone, unset PMIX_RANK"):
        open_rank()
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(ArgumentError, match="as one of several, which need mpi4py"):
        open_rank()


def test_a_child_of_a_rank_is_no_rank() -> None:
    kept = {"PATH": "/bin", "ANEPERF_THREADS": "1"}
    of_a_rank = {"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "1", "PMI_SIZE": "2", "PRTE_LAUNCHED": "1"}
    assert without_launcher({**kept, **of_a_rank}) == kept
    assert without_launcher({**kept, "OMPI_MCA_btl": "self"}) == {**kept, "OMPI_MCA_btl": "self"}


def test_a_process_that_nobody_launched_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(open_communicator(), Alone)


class _Never:
    def is_done(self) -> bool:
        return False


def test_no_wait_is_without_an_end() -> None:
    with pytest.raises(CommunicationError, match="did not answer within 0 s"):
        wait(_Never(), lambda: None, 0.01)


def test_a_lost_rank_ends_a_wait() -> None:
    def check() -> None:
        raise CommunicationError("rank 1 on b is lost")

    with pytest.raises(CommunicationError, match="rank 1 on b is lost"):
        wait(_Never(), check)


def test_threads_communicate_as_ranks_do() -> None:
    def act(communicator):  # type: ignore[no-untyped-def]
        values = np.full(5, communicator.rank + 1, np.float32)
        wait(communicator.sum(values), communicator.check)
        first = np.array([communicator.rank], np.int64)
        wait(communicator.broadcast(first), communicator.check)
        return values.tolist(), first.tolist(), communicator.gather(b"%d" % communicator.rank)

    assert run_ranks(3, act) == [([6.0] * 5, [0], [b"0", b"1", b"2"])] * 3


_BY_MPI = """
import numpy as np
from aneperf.cluster.communicator import name_of, wait
from aneperf.cluster.launch import open_communicator

ranks = open_communicator()
assert open_communicator() is ranks
values = np.arange(1 << 20, dtype=np.float32) * (ranks.rank + 1)
requests = [ranks.sum(part) for part in np.split(values, 4)]
for request in requests:
    wait(request, ranks.check)
factor = sum(range(1, ranks.size + 1))
assert (values == np.arange(1 << 20, dtype=np.float32) * factor).all()
first = np.full(7, ranks.rank, np.float64)
wait(ranks.broadcast(first), ranks.check)
assert not first.any()
messages = ranks.gather(b"x" * ranks.rank)
assert messages == [b"x" * rank for rank in range(ranks.size)], messages
assert len(ranks.hosts) == ranks.size
print(f"{ranks.rank} of {ranks.size}", flush=True)
"""


@needs_mpi
@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.thorough)])
def test_mpi_sums_broadcasts_and_gathers(ranks: int) -> None:
    lines = output_of_ranks(ranks, ["-c", _BY_MPI]).splitlines()
    assert sorted(lines) == [f"{rank} of {ranks}" for rank in range(ranks)]


def test_a_rank_is_named_with_its_host() -> None:
    assert name_of(Alone(), 0) == "rank 0 on localhost"
