"""Training on several ranks, as threads with workers of their own, against one rank with the same batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from aneperf.cluster.communicator import Communicator
from aneperf.training.config import TrainingConfig
from aneperf.training.events import BatchDone, Event, StepDone
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.trainer import Trainer
from support.ranks import run_ranks
from support.training_runs import CONFIG, DATA, MODEL, copied, undisturbed, worker_pid  # noqa

# Sums in another order round differently, which Adam's first updates turn into shares of the learning rate.
TOLERANCE = 0.01 * CONFIG.learning_rate


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small model have several buckets."""
    monkeypatch.setattr("aneperf.training.exchange.BUCKET_BYTES", 4096)


def train_on(
    ranks: int,
    config: TrainingConfig = CONFIG,
    act: Callable[[Trainer, Event], None] = lambda run, event: None,
    **options: Any,
) -> list[tuple[list[Event], Parameters]]:
    """Return each rank's events and trained parameters."""

    def train(communicator: Communicator) -> tuple[list[Event], Parameters]:
        parameters = random_parameters(config.model)
        made = Trainer(config, parameters, DATA, device="emulator:h16", communicator=communicator, **options)
        events = []
        with made as run:
            for event in run.run():
                events.append(event)
                act(run, event)
            return events, copied(run.parts["parameters"])

    return run_ranks(ranks, train)


def batches(events: list[Event]) -> list[BatchDone]:
    return [event for event in events if isinstance(event, BatchDone)]


def losses(events: list[Event]) -> list[float]:
    return [loss for batch in batches(events) for loss in batch.losses]


def assert_same_bits(*runs: Parameters) -> None:
    for other in runs[1:]:
        for name, value in runs[0].items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


@cache
def on_two_ranks() -> list[tuple[list[Event], Parameters]]:
    return train_on(2)


def test_two_ranks_train_as_one_does() -> None:
    expected, parameters = undisturbed("emulator:h16")
    (first, there), (second, here) = on_two_ranks()
    assert_same_bits(there, here)
    assert losses(first) == losses(second)
    np.testing.assert_allclose(losses(first), expected, atol=TOLERANCE)
    for name, value in parameters.items():
        np.testing.assert_allclose(there[name], value, atol=TOLERANCE, err_msg=name)


def test_each_rank_does_its_share_of_a_batch() -> None:
    (first, _), (second, _) = on_two_ranks()
    steps = [[event.step for event in events if isinstance(event, StepDone)] for events in (first, second)]
    assert steps == [[0, 2, 3, 5, 6, 8], [1, 4, 7]]


def test_the_exchange_is_told() -> None:
    for events, _ in on_two_ranks():
        for batch in batches(events):
            told = batch.communication
            assert told is not None
            assert told.ranks == 2
            assert told.bytes == 4 * sum(map(np.size, random_parameters(MODEL).values()))
            assert len(told.spans) > 2
            assert len(told.losses) == 3
            assert all(begin <= end <= told.end for _, begin, end in told.spans)
            assert 0 <= told.waited_ms <= told.exposed_ms


def test_a_run_on_ranks_repeats_its_bits() -> None:
    assert_same_bits(on_two_ranks()[0][1], train_on(2)[0][1])
