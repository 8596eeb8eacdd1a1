"""The sums of gradients over the ranks: buckets, their order, flags, and what is summed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest

from aneperf import _ane_native as native
from aneperf.cluster.communicator import Communicator
from aneperf.training.config import TrainingConfig
from aneperf.training.exchange import Exchange, buckets
from aneperf.training.lora import matrix_of
from aneperf.training.state import SharedState, part_shapes
from support.host_arrays import bad
from support.ranks import ThreadCommunicator, run_ranks
from support.training_runs import CONFIG, MODEL

SHAPES = part_shapes(CONFIG, separate_classifier=True)
ADAPTERS = part_shapes(TrainingConfig(MODEL, lora_rank=2), separate_classifier=False)


@pytest.mark.parametrize("least_bytes", [4, 1000, 5000, 1 << 30])
@pytest.mark.parametrize("shapes", [SHAPES["parameters"], ADAPTERS["parameters"]], ids=["whole", "adapters"])
def test_buckets_cover_the_gradients_from_the_last_to_the_first(
    shapes: dict[str, tuple[int, ...]], least_bytes: int
) -> None:
    made = buckets(shapes, least_bytes)
    matrices = list(dict.fromkeys(map(matrix_of, shapes)))
    covered = np.zeros(sum(map(math.prod, shapes.values())), int)
    for before, after in pairwise(made):
        assert after.flags == before.flags or after.flags.stop == before.flags.start
        assert after.flags == before.flags or after.values.stop <= before.values.start
    for bucket in made:
        covered[bucket.values] += 1
        assert {matrix_of(name) for name in bucket.parameters} == set(matrices[bucket.flags])
        assert 4 * (bucket.values.stop - bucket.values.start) < 2 * least_bytes + 4 * (1 << 14)
    assert (covered == 1).all()
    assert [name for name in shapes if all(name not in bucket.parameters for bucket in made)] == []
    assert len({bucket.name for bucket in made}) == len(made)


def test_a_large_matrix_is_summed_in_pieces() -> None:
    made = buckets({"embedding": (1000, 10), "norm": (10,)}, 8000)
    assert [bucket.name for bucket in made] == [f"embedding to norm ({n}/5)" for n in range(1, 6)]
    assert all(bucket.flags == slice(0, 2) for bucket in made)
    assert sum(bucket.values.stop - bucket.values.start for bucket in made) == 10010


@contextmanager
def exchanging(communicator: Communicator) -> Iterator[tuple[Exchange, SharedState]]:
    shared = SharedState.create(SHAPES, MODEL.seq)
    try:
        yield Exchange(communicator, shared), shared
    finally:
        shared.close()


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.training.exchange.BUCKET_BYTES", 2000)


@pytest.mark.usefixtures("small_buckets")
def test_gradients_are_summed_once_while_the_flags_are_raised_in_any_order() -> None:
    def act(communicator: Communicator) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
        random = np.random.default_rng(communicator.rank)
        with exchanging(communicator) as (exchange, shared):
            exchange.begin(1)
            exchange.begin_step()
            mine = shared.flat["gradients_1"]
            mine[:] = random.standard_normal(mine.size, np.float32)
            given = mine.copy()
            for name in random.permutation(list(shared.flags))[: -3 * communicator.rank or None]:
                native.raise_flags(shared.flags[name])
                exchange.advance()
            exchange.finish()
            told = exchange.communication([1.0], [exchange.work_ns] * 3, exchange._steps_end)
            assert told is not None
            assert isinstance(communicator, ThreadCommunicator)
            return given, mine.copy(), [name for name, _, _ in told.spans], communicator.calls

    given, found, spans, calls = zip(*run_ranks(3, act), strict=True)
    exact = sum(each.astype(np.float64) for each in given)
    for each in found:
        np.testing.assert_allclose(each, exact, atol=1e-6)
        np.testing.assert_array_equal(each, found[0])
    assert sorted(spans[0]) == sorted(spans[1]) == sorted(spans[2])
    assert len(spans[0]) > 10
    assert calls[0] == calls[1] == calls[2]


@pytest.mark.usefixtures("small_buckets")
def test_no_gradient_is_summed_before_it_is_finished() -> None:
    def act(communicator: Communicator) -> list[list[str]]:
        with exchanging(communicator) as (exchange, shared):
            exchange.begin(0)
            exchange.begin_step()
            seen = []
            for name in ("classifier", "layers.0.w3", "norm"):
                exchange.advance()
                seen.append(exchange.exchanged)
                native.raise_flags(shared.flags[name])
            exchange.advance()
            seen.append(exchange.exchanged)
            exchange.begin_step()  # a successor: what was begun is not waited for again
            exchange.finish()
            assert set(exchange.exchanged) == set(SHAPES["parameters"])
            return seen

    expected = [[], ["classifier"], ["classifier"], ["classifier"]]
    assert run_ranks(2, act) == [expected] * 2


def test_one_rank_exchanges_nothing() -> None:
    def act(communicator: Communicator) -> None:
        with exchanging(communicator) as (exchange, shared):
            shared.flat["gradients_0"][:] = 1
            exchange.begin(0)
            exchange.finish()
            assert exchange.exchanged == []
            assert exchange.communication([1.0], [0], 0) is None
            assert (shared.flat["gradients_0"] == 1).all()

    run_ranks(1, act)


def test_flags_are_raised_in_shared_memory() -> None:
    flags = np.zeros(5, np.int32)
    native.raise_flags(flags[1:3])
    np.testing.assert_array_equal(flags, [0, 1, 1, 0, 0])
    assert native.flags_raised(flags[1:3])
    assert not native.flags_raised(flags)
    assert native.flags_raised(flags[:0])
    for wrong in (flags.astype(np.int64), flags[::2], flags.reshape(5, 1), None, [0]):
        bad(lambda wrong=wrong: native.raise_flags(wrong), "flags must be a contiguous, aligned int32 array")
    flags.flags.writeable = False
    bad(lambda: native.flags_raised(flags), "that can be written")


def test_the_queue_raises_flags_when_a_gradient_is_finished() -> None:
    queue, flags = native.GradientQueue(), np.zeros(2, np.int32)
    dy, x = np.ones((3, 8), np.float32), np.ones((4, 8), np.float32)
    a, b = np.ones((2, 4), np.float32), np.ones((3, 2), np.float32)
    queue.add(dy, x, np.zeros((3, 4), np.float32), flags=flags[:1])
    queue.add_adapter(dy, x, a, b, np.zeros_like(a), np.zeros_like(b), scale=1.0, flags=flags[1:])
    queue.wait()
    assert native.flags_raised(flags)
    bad(lambda: queue.add(dy, x, np.zeros((3, 4), np.float32), flags=np.zeros(1)), "flags must be")
