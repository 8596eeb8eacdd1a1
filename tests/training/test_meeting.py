"""What ranks tell each other between batches."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from aneperf.cluster.communicator import Alone, Communicator
from aneperf.training.meeting import Word, checksum, losses_of, meet, stop_of
from aneperf.training.worker import TrainingError
from support.ranks import run_ranks


def outcomes(ranks: int, word: object, failing: int = -1) -> list[object]:
    """Return what each rank's meeting returns or raises."""

    def act(communicator: Communicator) -> object:
        failure = ValueError("no\nroom") if communicator.rank == failing else None
        try:
            return meet(communicator, word(communicator.rank), failure)  # type: ignore[operator]
        except (TrainingError, ValueError) as error:
            return error

    return run_ranks(ranks, act)


def test_ranks_learn_losses_stops_and_times_of_work() -> None:
    words = [
        Word(losses=[1.0, math.nan], work_ns=5),
        Word(losses=[math.inf], stop=15, work_ns=7),
        Word(losses=[2.0]),
    ]
    for found in outcomes(3, words.__getitem__):
        assert isinstance(found, list)
        assert [word.work_ns for word in found] == [5, 7, 0]
        np.testing.assert_array_equal(losses_of(found), [1.0, math.inf, 2.0, math.nan])
        assert stop_of(found) == 15


def test_a_failure_is_told_to_all_with_its_host() -> None:
    first, second, third = outcomes(3, lambda rank: Word(), failing=1)
    assert isinstance(second, ValueError)
    assert str(second) == "no\nroom"
    for other in (first, third):
        assert isinstance(other, TrainingError)
        assert str(other) == "rank 1 on host1: no room"


def test_states_that_differ_end_the_run() -> None:
    for found in outcomes(3, lambda rank: Word(checksum=7 + (rank == 2))):
        assert isinstance(found, TrainingError)
        assert re.match(r"rank 2 on host2: the parameters or moments differ from those of rank 0", str(found))
    assert len(outcomes(2, lambda rank: Word(checksum=7))) == 2


def test_a_rank_alone_raises_its_own_failure() -> None:
    with pytest.raises(ValueError, match="mine"):
        meet(Alone(), Word(), ValueError("mine"))
    assert meet(Alone(), Word(losses=[1.0])) == [Word(losses=[1.0])]


def test_a_checksum_sees_each_bit() -> None:
    arrays = [np.arange(5, dtype=np.float32), np.zeros(0, np.float32), np.full(3, np.nan, np.float32)]
    before = checksum(arrays)
    assert before == checksum([array.copy() for array in arrays])
    arrays[2].view(np.uint32)[1] ^= 1
    assert checksum(arrays) != before
