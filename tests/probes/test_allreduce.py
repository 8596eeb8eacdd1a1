"""The probe of sums over ranks: every value is checked, and no rank takes part in something else."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import aneperf
from aneperf import ArgumentError, Result
from aneperf.cluster.communicator import Communicator, Request, wait
from aneperf.kernels import TransformerConfig
from aneperf.kernels.config import parameter_count
from aneperf.kernels.presets import PRESETS
from aneperf.probes.allreduce_share import step_of
from aneperf.schema import check_numbers
from support.mpi import needs_mpi, run_in_ranks
from support.ranks import run_ranks

SMALL = TransformerConfig(dim=8, hidden=16, layers=1, heads=2, kv_heads=2, head_dim=4, vocab=512, seq=16)
BYTES = 4 * parameter_count(SMALL)


def measured(ranks: Communicator, **options: Any) -> Result:
    return aneperf.allreduce("emulator", **{"model": SMALL, "budget": 0.01, "communicator": ranks, **options})


@pytest.mark.parametrize("size", [2, 3])
def test_all_ranks_get_the_same_rows(size: int) -> None:
    results = run_ranks(size, measured)
    first = results[0]
    assert [row.params["bytes"] for row in first] == [1024, 4096, 16384, BYTES]
    for row in first:
        assert row.status == "ok"
        assert row.key == f"allreduce/ranks{size}/bytes{row.params['bytes']}"
        assert row.metrics["wrong"] == row.error == 0
        rate = row.metrics["algbw_gb_per_s"]
        assert row.median is not None
        assert rate * row.median == pytest.approx(row.params["bytes"] * 1e-6)
        assert row.metrics["busbw_gb_per_s"] == pytest.approx(rate * 2 * (size - 1) / size)
    check_numbers(first)
    assert first.environment.cluster == {"ranks": str(size), "hosts": str(size), "mpi": "threads"}
    assert all(other.rows == first.rows and other.notes == first.notes for other in results)
    assert "host0, host1" in first.notes[0]
    assert not any("buckets" in note for note in first.notes)  # these gradients are one


class _Faulty:
    """The communicator of a rank whose sums go wrong once they are done."""

    def __init__(self, ranks: Communicator, spoil: Callable[[NDArray[np.float32]], None]) -> None:
        self._ranks, self._spoil = ranks, spoil

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ranks, name)

    def sum(self, array: NDArray[np.float32]) -> Request:
        request = self._ranks.sum(array)
        if array.size > 1:  # what the ranks agree on by a single value stays right
            wait(request, self._ranks.check)
            self._spoil(array)
        return request


def _set(place: int, value: float) -> Callable[[NDArray[np.float32]], None]:
    def spoil(array: NDArray[np.float32]) -> None:
        array[place] = value

    return spoil


def _swap_halves(array: NDArray[np.float32]) -> None:
    array[:256] = np.roll(array[:256], 128)


def _double(array: NDArray[np.float32]) -> None:
    array *= 2


@pytest.mark.parametrize(
    "spoil", [_set(0, -1), _set(-1, 0.5), _set(5, np.nan), _set(7, np.inf), _swap_halves, _double]
)
def test_a_wrong_value_is_an_error_that_names_the_rank(spoil: Callable[[NDArray[np.float32]], None]) -> None:
    def act(ranks: Communicator) -> Result:
        return measured(_Faulty(ranks, spoil) if ranks.rank == 1 else ranks)  # type: ignore[arg-type]

    for result in run_ranks(3, act):
        assert {row.status for row in result} == {"error"}
        for row in result:
            assert row.metrics["wrong"] >= row.calls
            assert row.error
            assert row.reason is not None
            assert "values are wrong, the first on rank 1 on host1: its memory" in row.reason
        assert not any("takes" in note for note in result.notes)  # a wrong sum has no time


def test_a_sum_without_one_rank_is_wrong() -> None:
    def lose_rank_2(array: NDArray[np.float32]) -> None:
        array -= mine[: array.size]

    mine = np.zeros(BYTES // 4, np.float32)

    class Recorded(_Faulty):
        def sum(self, array: NDArray[np.float32]) -> Request:
            if self._ranks.rank == 2:
                mine[: array.size] = array
            return super().sum(array)

    result = run_ranks(3, lambda ranks: measured(Recorded(ranks, lose_rank_2)))[0]  # type: ignore[arg-type]
    assert {row.status for row in result} == {"error"}


def test_the_gradients_are_said_to_be_summed_in_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.probes.allreduce.BUCKET_BYTES", BYTES // 3)
    asked: list[int] = []

    class Recorded(_Faulty):
        def sum(self, array: NDArray[np.float32]) -> Request:
            asked.append(array.nbytes)
            return super().sum(array)

    def act(ranks: Communicator) -> Result:
        return measured(Recorded(ranks, lambda array: None) if ranks.rank == 1 else ranks)  # type: ignore[arg-type]

    result = run_ranks(2, act)[0]
    assert any(note.startswith("The gradients are summed in 3 buckets of ") for note in result.notes)
    assert max(asked) == 16384  # in one piece
    assert sum(asked[-4:-1]) == BYTES  # and then the word that ends


def test_one_process_is_told_how_to_start_more() -> None:
    with pytest.raises(ArgumentError, match="this one is alone: start it as mpiexec -n 2 aneperf allreduce"):
        aneperf.allreduce("emulator", model="stories260k")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": "stories260k"},
            "rank 1 on host1 runs allreduce --model stories260k --budget 0.01, and rank 0",
        ),
        ({"budget": 0.5}, "rank 1 on host1 runs allreduce --model .* --budget 0.5, and rank 0 on host0 runs"),
    ],
)
def test_a_rank_with_other_options_is_refused_on_all(options: dict[str, Any], message: str) -> None:
    def act(ranks: Communicator) -> None:
        with pytest.raises(ArgumentError, match=message):
            measured(ranks, **(options if ranks.rank == 1 else {}))

    run_ranks(2, act)


def test_a_rank_that_does_something_else_is_named() -> None:
    def act(ranks: Communicator) -> None:
        if ranks.rank == 1:
            ranks.gather(b'{"verb": "train"}')
            return
        with pytest.raises(ArgumentError, match="rank 1 on host1 takes no part: it runs another verb"):
            measured(ranks)

    run_ranks(3, act)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "budget must be a positive"),
        ({"step_ms": -1.0}, "step_ms must be a positive"),
        ({"model": "gpt"}, "no model is called 'gpt'"),
    ],
)
def test_what_allreduce_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        aneperf.allreduce("emulator", **options)


def test_the_share_of_a_step_says_whose_step_it_is() -> None:
    result = run_ranks(2, lambda ranks: measured(ranks, step_ms=40.0))[0]
    assert any("A step takes 40 ms (given). Without overlap the allreduce takes " in n for n in result.notes)
    emulator = result.environment
    published = step_of(PRESETS["stories110m"], emulator, None)
    assert published is not None
    assert published.origin == (
        "A step takes 106.7 ms (91 to 107) on M4, published: training/static/stories110m/step"
    )
    predicted = step_of(SMALL, emulator, None)
    assert predicted is not None
    assert predicted.is_least
    assert "predicted; the host's part is not known" in predicted.origin
    unknown = aneperf.info("emulator:none")
    assert step_of(SMALL, unknown, None) is None


@needs_mpi
def test_only_rank_0_prints_and_saves(tmp_path: Path) -> None:
    path = tmp_path / "allreduce.json"
    options = ["--model", "stories260k", "--budget", "0.1", "--device", "emulator", "-o", str(path)]
    run = run_in_ranks(2, ["-m", "aneperf", "allreduce", *options])
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("aneperf allreduce") == 1
    assert "\x1b" not in run.stdout  # mpiexec gives ranks a terminal, and its output is none
    result = Result.load(path)
    assert {row.metrics["wrong"] for row in result} == {0}
    assert result.environment.cluster["ranks"] == "2"


@needs_mpi
@pytest.mark.thorough
@pytest.mark.parametrize("verbs", [("allreduce", "train"), ("train", "allreduce")])
def test_ranks_with_two_verbs_are_refused(verbs: tuple[str, str]) -> None:
    first, second = (
        ["-m", "aneperf", verb, "--model", "stories260k", "--device", "emulator"] for verb in verbs
    )
    run = run_in_ranks(1, [*first, ":", "-n", "1", sys.executable, *second])
    assert run.returncode == 2
    said = {line for line in run.stderr.splitlines() if line.startswith("aneperf:")}
    assert len(said) == 1
    assert f"has another verb than rank 0 on {socket.gethostname()}: {verbs[1]}, not {verbs[0]}" in said.pop()


@needs_mpi
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--model", "stories15m"],
            "rank 1 on .* runs allreduce --model stories15m --budget 0.1, and rank 0",
        ),
        (["--device", "emulator:gpt"], "rank 1 on .*gpt"),
    ],
)
def test_rank_0_tells_once_what_another_rank_refuses(options: list[str], message: str) -> None:
    same = ["-m", "aneperf", "allreduce", "--budget", "0.1", "--model", "stories260k", "--device", "emulator"]
    run = run_in_ranks(1, [*same, ":", "-n", "1", sys.executable, *same, *options])
    assert run.returncode == 2
    said = [line for line in run.stderr.splitlines() if line.startswith("aneperf:")]
    assert len(said) == 1
    assert re.search(message, said[0])
