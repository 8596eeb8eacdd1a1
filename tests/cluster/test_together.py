"""Do on all ranks what may fail on one, compare facts, and share cores."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from aneperf.cluster import cores
from aneperf.cluster.communicator import Communicator
from aneperf.cluster.together import check_same, together
from aneperf.errors import AneError, ArgumentError
from support.ranks import ThreadCommunicator, run_ranks


def caught(act: Callable[[Communicator], object]) -> Callable[[Communicator], object]:
    def with_error(communicator: Communicator) -> object:
        try:
            return act(communicator)
        except Exception as error:
            return type(error).__name__, str(error)

    return with_error


def test_each_rank_gets_its_own_result() -> None:
    assert run_ranks(3, lambda ranks: together(ranks, lambda: ranks.rank * 10)) == [0, 10, 20]


@pytest.mark.parametrize(("message", "told"), [("no\nfile", "no file"), ("", "AneError")])
def test_what_fails_on_one_rank_fails_on_all(message: str, told: str) -> None:
    def act(communicator: Communicator) -> None:
        def fail() -> None:
            if communicator.rank == 1:
                raise AneError(message)

        together(communicator, fail)

    other = ("ArgumentError", f"rank 1 on host1: {told}")
    assert run_ranks(3, caught(act)) == [other, ("AneError", message), other]


def test_a_fact_that_differs_is_named_on_all_ranks() -> None:
    def act(communicator: Communicator) -> None:
        own = {"version": "0.2" if communicator.rank == 2 else "0.1", "data": str(communicator.rank)}
        check_same(communicator, own)

    expected = "rank 2 on host2 has another version than rank 0 on host0: 0.2, not 0.1"
    assert run_ranks(3, caught(act)) == [(ArgumentError.__name__, expected)] * 3
    assert run_ranks(2, caught(lambda ranks: check_same(ranks, {"version": "0.1"}))) == [None, None]


@pytest.mark.parametrize(
    ("hosts", "bound", "threads"),
    [
        (["a", "a"], [{0, 1}, {0, 1}], "4"),  # they share all cores
        (["a", "a"], [{0}, {1}], None),  # the launcher gave each its own
        (["a", "b"], [{0, 1}, {0, 1}], None),
        (["a", "a"], [None, None], "4"),  # macOS binds no process
    ],
)
def test_ranks_of_a_host_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, hosts: list[str], bound: list[set[int] | None], threads: str | None
) -> None:
    monkeypatch.setattr(cores.native, "physical_cores", lambda: 8)
    monkeypatch.setattr(cores, "_allowed", lambda process=0: bound[0])
    monkeypatch.delenv("ANEPERF_THREADS", raising=False)
    places = [cores._Place(*place) for place in zip(hosts, bound, strict=True)]
    monkeypatch.setattr(
        ThreadCommunicator, "gather", lambda *_: [cores.msgspec.msgpack.encode(place) for place in places]
    )

    def act(communicator: ThreadCommunicator) -> None:
        communicator.hosts = hosts
        cores.share_cores(communicator)

    run_ranks(1, act)  # type: ignore[arg-type]
    assert os.environ.get("ANEPERF_THREADS") == threads
    monkeypatch.setenv("ANEPERF_THREADS", "3")
    run_ranks(1, act)  # type: ignore[arg-type]
    assert os.environ["ANEPERF_THREADS"] == "3"


@pytest.mark.parametrize(
    ("hosts", "mine", "there", "told"),
    [
        (["a", "b"], {0}, {0, 1, 2, 3}, "a: the launcher binds a rank to 1 of 4 cores: start with mpiexec"),
        (["a", "a"], {0}, {0, 1, 2, 3}, "a: the launcher binds a rank to 1 of 4 cores: start with mpiexec"),
        (["a", "a"], {0}, {0, 1}, None),  # its share
        (["a", "b"], {0, 1}, {0, 1}, None),
        (["a", "b"], None, None, None),  # macOS
        (["a", "b"], {0}, None, None),
    ],
)
def test_a_rank_that_is_bound_to_less_than_its_share_is_told(
    monkeypatch: pytest.MonkeyPatch,
    hosts: list[str],
    mine: set[int] | None,
    there: set[int] | None,
    told: str | None,
) -> None:
    monkeypatch.setattr(cores, "_allowed", lambda process=0: there if process else mine)
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")

    def act(communicator: ThreadCommunicator) -> str | None:
        communicator.hosts = hosts
        return cores.narrow_binding(communicator)

    (found,) = run_ranks(1, act)  # type: ignore[arg-type]
    assert found == told if told is None else str(found).startswith(told)
