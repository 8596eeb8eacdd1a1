"""Training on several ranks, as threads with workers of their own, against one rank with the same batches."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from aneperf.cluster.communicator import Communicator
from aneperf.errors import ArgumentError
from aneperf.training.config import TrainingConfig
from aneperf.training.events import BatchDone, Event, KernelsCompiled, StepDone, WorkerReplaced
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.trainer import Trainer
from aneperf.training.worker import TrainingError
from support.ranks import run_ranks
from support.training_runs import CONFIG, DATA, MODEL, assert_trained_alike, copied, undisturbed, worker_pid

TOLERANCE = 1e-4  # of losses


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
    assert_trained_alike(parameters, there, CONFIG.learning_rate)


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


@pytest.mark.thorough
def test_a_run_on_ranks_repeats_its_bits() -> None:
    assert_same_bits(on_two_ranks()[0][1], train_on(2)[0][1])


@pytest.mark.parametrize("when", [pytest.param("first step", marks=pytest.mark.thorough), "last step"])
def test_a_worker_that_dies_is_replaced_while_the_others_wait(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Kill rank 1's only worker as it begins, or when the first bucket of its last step is summed."""
    killed = []

    def kill(run: Trainer) -> None:
        pid = worker_pid(run)
        if pid is not None and not killed and run._ranks.rank == 1:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    def act(run: Trainer, event: Event) -> None:
        if when == "first step" and isinstance(event, KernelsCompiled):
            kill(run)
        elif when == "last step" and isinstance(event, KernelsCompiled):
            started = run._exchange._start

            def start() -> None:
                started()
                kill(run)

            monkeypatch.setattr(run._exchange, "_start", start)

    (first, there), (second, here) = train_on(2, act=act)
    assert len(killed) == 1
    (replaced,) = (event.step for event in second if isinstance(event, WorkerReplaced))
    assert replaced in (1, 4)  # the next one, if the step ended first
    assert not any(isinstance(event, WorkerReplaced) for event in first)
    assert losses(first) == losses(on_two_ranks()[0][0])
    assert_same_bits(on_two_ranks()[0][1], there, here)


@pytest.mark.thorough
def test_a_stop_on_one_rank_ends_all_with_the_same_update() -> None:
    def act(run: Trainer, event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 4:  # of rank 1, in the second batch
            run.stop(signal.SIGTERM)

    (first, there), (second, here) = train_on(2, act=act)
    assert len(batches(first)) == len(batches(second)) in (1, 2)  # rank 0 may have done its steps by then
    assert_same_bits(there, here)


@pytest.mark.thorough
def test_a_rank_that_stops_does_not_keep_the_others() -> None:
    stopped = []

    def act(run: Trainer, event: Event) -> None:
        stopped.append(run)
        if isinstance(event, KernelsCompiled) and run._ranks.rank == 1:
            run.stop(signal.SIGTERM)

    (first, there), (second, here) = train_on(2, act=act)
    assert batches(first) == batches(second) == []
    assert {run.stopped_by for run in stopped} == {signal.SIGTERM}
    assert_same_bits(there, here, random_parameters(MODEL))


class _Unreadable:
    """Data whose file was changed: one of rank 1's sequences cannot be read."""

    description, vocabulary, unigram_entropy = DATA.description, DATA.vocabulary, DATA.unigram_entropy

    def sequence(self, step: int) -> Any:
        if step == 4:
            raise ArgumentError("tokens.bin was changed")
        return DATA.sequence(step)


@pytest.mark.thorough
def test_what_fails_on_one_rank_ends_all_with_its_host() -> None:
    def train(communicator: Communicator) -> tuple[str, int]:
        with Trainer(
            CONFIG, random_parameters(MODEL), _Unreadable(), device="emulator:h16", communicator=communicator
        ) as run:
            with pytest.raises((TrainingError, ArgumentError)) as raised:
                list(run.run())
            return str(raised.value), run.state.step

    expected = [("rank 1 on host1: tokens.bin was changed", 3), ("tokens.bin was changed", 3)]
    assert run_ranks(2, train) == expected


@pytest.mark.parametrize("ending", ["stop", pytest.param("failure", marks=pytest.mark.thorough)])
def test_the_states_are_compared_where_all_ranks_end(ending: str) -> None:
    """Damage rank 1's parameters after the first update, and end the run."""

    def follow(run: Trainer, rank: int) -> None:
        for event in run.run():
            if isinstance(event, BatchDone) and rank == 1:
                run.parts["parameters"]["embedding"][3, 4] += 1
                if ending == "stop":
                    run.stop(signal.SIGTERM)

    def train(communicator: Communicator) -> str:
        data = DATA if ending == "stop" else _Unreadable()
        with Trainer(
            CONFIG, random_parameters(MODEL), data, device="emulator:h16", communicator=communicator
        ) as run:
            with pytest.raises(TrainingError) as raised:
                follow(run, communicator.rank)
            return str(raised.value)

    differ = "rank 1 on host1: the parameters or moments differ from those of rank 0 on host0, "
    failed = "" if ending == "stop" else "tokens.bin was changed; "
    first, second = run_ranks(2, train)
    assert first.startswith(f"rank 1 on host1: {failed}{differ}" if failed else differ)
    assert second.startswith(failed + differ)


@pytest.mark.thorough
def test_an_observer_that_fails_ends_all_ranks() -> None:
    def follow(events: Generator[Event, None, None], rank: int) -> None:
        for event in events:
            if isinstance(event, BatchDone) and rank == 0:
                events.throw(ValueError("the disk is full"))

    def train(communicator: Communicator) -> str:
        with Trainer(
            CONFIG, random_parameters(MODEL), DATA, device="emulator:h16", communicator=communicator
        ) as run:
            with pytest.raises((TrainingError, ValueError)) as raised:
                follow(run.run(), communicator.rank)
            return str(raised.value)

    assert run_ranks(2, train) == ["the disk is full", "rank 0 on host0: the disk is full"]


@pytest.mark.thorough
def test_ranks_without_a_step_of_a_batch_take_part() -> None:
    expected, parameters = undisturbed("emulator:h16")
    for events, found in train_on(4):  # for three steps
        np.testing.assert_allclose(losses(events), expected, atol=TOLERANCE)
        assert_trained_alike(parameters, found, CONFIG.learning_rate)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "changed",
    [{"pipeline": "static-ane"}, {"pipeline": "dynamic"}, {"lora_rank": 2}, {"clip": 0.1}, {"steps": 8}],
    ids=str,
)
def test_every_kind_of_run_trains_on_ranks(changed: dict[str, Any]) -> None:
    config = replace(CONFIG, **changed)
    expected, parameters = undisturbed("emulator:h16", config)
    (first, there), (_, here) = train_on(2, config)
    assert_same_bits(there, here)
    np.testing.assert_allclose(losses(first), expected, atol=TOLERANCE)
    assert_trained_alike(parameters, there, CONFIG.learning_rate)
