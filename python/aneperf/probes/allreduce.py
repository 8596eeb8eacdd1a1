"""Allreduce: how fast ranks sum an array, by its size, and what share of a training step that would take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from .._ane_native import Device
from ..bounds import check_memory
from ..checks import positive
from ..cluster.communicator import BUCKET_BYTES, Communicator, name_of, wait
from ..cluster.cores import narrow_binding
from ..cluster.launch import open_communicator
from ..device import info, opened
from ..errors import ArgumentError
from ..kernels.config import TransformerConfig, parameter_count
from ..kernels.presets import model_config, model_name
from ..measure import analyze
from ..results import Environment, Result, Row
from ..runner.measured import Measured, Params
from ..runner.progress import Budget, Progress, ProgressCallback, reporter
from ..runner.ranks import Ranks
from ..runner.timing import Clock
from .allreduce_share import judge_share
from .registry import default_budget

SMALLEST = 1024  # bytes
_GROWTH = 4
_LEAST_CALLS, _MOST_CALLS = 7, 1_000  # the first one is warm-up, and six have an interval
_LEAST_BYTES_PER_S = 1e6  # a slower network is no network: the call has failed
_LEAST_WAIT_S = 60.0
# Prime, so that a message which arrives at a wrong place of a power of two brings wrong values.
_PERIOD = 1009
_FP32_INTEGERS = 1 << 24  # all of them up to here
_BLOCK = 4096  # periods that are compared at once


def allreduce(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("allreduce"),
    model: str | TransformerConfig = "stories110m",
    step_ms: float | None = None,
    progress: ProgressCallback | None = None,
    clock: Clock = time.perf_counter,
    communicator: Communicator | None = None,
) -> Result:
    """Sum fp32 arrays over all ranks, from 1 KiB to the gradients of `model`, and check every value.

    The gradients are summed in buckets of 4 MiB at the same time, as in training, and every other size in one
    piece.
    Every rank that a launcher started calls it with the same arguments, and gets the same result. `device` is
    the one that would train; nothing runs on it. A call's time is the mean over the ranks, as in nccl-tests.
    The metrics have its names: "algbw_gb_per_s" is bytes over time, "busbw_gb_per_s" is 2 (N - 1) / N of it,
    and "wrong" is the number of wrong values. Notes say what share of a training step the sum of the
    gradients takes, by `step_ms`, the time of your step, or else by published steps or a prediction.
    Keys: "allreduce/ranks2/bytes1024".
    Raises ArgumentError, also for ranks that were started with other arguments, and CommunicationError.
    """
    positive("budget", budget)
    if step_ms is not None:
        positive("step_ms", step_ms)
    shape = model_config(model)
    ranks = open_communicator() if communicator is None else communicator
    if ranks.size == 1:
        raise ArgumentError(
            "allreduce measures messages between two processes or more, and this one is alone: start it as "
            "mpiexec -n 2 aneperf allreduce; docs/cluster.md describes several machines"
        )
    if ranks.size > (most := _FP32_INTEGERS // _PERIOD):
        raise ArgumentError(f"allreduce checks sums of at most {most} ranks, not {ranks.size}")
    largest = 4 * parameter_count(shape)
    check_memory(f"the gradients of {model_name(shape)}", 2 * largest, "choose a smaller model")
    device = opened(device)
    asked = f"--model {model_name(shape)} --budget {budget:g}"
    environments = _meet(ranks, info(device), asked)
    described = Ranks(tuple(ranks.hosts), environments, ranks.library, narrow_binding(ranks))
    environment = described.environment()
    sizes = list(_sizes(largest))
    sums, shares = _Sums(ranks, largest, clock), Budget(budget, len(sizes), clock)
    report, rows = reporter(progress), list[Row]()
    for size in sizes:
        report(Progress(len(rows), len(sizes), _size_name(size, largest, shape), environment=environment))
        measured = sums.measure(size, 1 if size < largest else _buckets(size), shares.next_share())
        params: Params = {"config": _size_name(size, largest, shape), "bytes": size, "ranks": ranks.size}
        rows.append(measured.row(f"allreduce/ranks{ranks.size}/bytes{size}", params))
        report(Progress(len(rows), len(sizes), "", rows[-1]))
    return Result(
        probe="allreduce",
        environment=environment,
        rows=tuple(rows),
        notes=(
            *described.lines(),
            *_note_of_buckets(_buckets(largest)),
            "algbw: bytes / time. busbw: algbw * 2 (N - 1) / N for N ranks, what each sends; compare it with "
            "the network's rate.",
            *judge_share(rows[-1], shape, environment, step_ms),
        ),
    )


def _sizes(largest: int) -> Iterator[int]:
    """Yield sizes in bytes, of which the last is that of the gradients."""
    size = SMALLEST
    while size < largest:
        yield size
        size *= _GROWTH
    yield largest


def _buckets(size: int) -> int:
    return max(1, size // BUCKET_BYTES)


def _note_of_buckets(buckets: int) -> list[str]:
    """Explain why a sum of the gradients may take less time than one of a smaller array."""
    if buckets == 1:
        return []
    return [
        f"The gradients are summed in {buckets} buckets of {BUCKET_BYTES >> 20} MiB at the same time, as in "
        "training, and every other size in one piece: the gradients may take less time than a smaller size."
    ]


def _size_name(size: int, largest: int, shape: TransformerConfig) -> str:
    if size == largest:
        return f"gradients of {model_name(shape)}"
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The description that a rank gives of itself before it takes part."""

    allreduce: str  # its options
    environment: Environment


def _meet(ranks: Communicator, environment: Environment, asked: str) -> tuple[Environment, ...]:
    """Return each rank's environment. Raises ArgumentError on every rank if one does something else."""
    messages = ranks.gather(msgspec.json.encode(_Part(asked, environment)))
    parts = list[_Part]()
    for rank, message in enumerate(messages):
        try:
            parts.append(msgspec.json.decode(message, type=_Part))
        except (ValueError, ArgumentError) as error:
            raise ArgumentError(
                f"{name_of(ranks, rank)} takes no part: it runs another verb, or another version of aneperf"
            ) from error
    for rank, part in enumerate(parts):
        for what, theirs, first in (
            ("aneperf", part.environment.aneperf, parts[0].environment.aneperf),
            ("allreduce", part.allreduce, parts[0].allreduce),
        ):
            if theirs != first:
                raise ArgumentError(
                    f"{name_of(ranks, rank)} runs {what} {theirs}, and {name_of(ranks, 0)} runs {first}: "
                    "start all with the same version and options"
                )
    return tuple(part.environment for part in parts)


@dataclass
class _Sums:
    """Sums of arrays of integers over the ranks: fp32 has no rounding for them, so every value is known."""

    ranks: Communicator
    largest: int  # bytes
    clock: Clock

    def __post_init__(self) -> None:
        self._memory = np.zeros(self.largest // 4, np.float32)
        self._flag = np.zeros(1, np.float32)

    def measure(self, size: int, buckets: int, seconds: float) -> Measured:
        """Time sums of an array of `size` bytes for some seconds, by the clock of rank 0."""
        array = self._memory[: size // 4]
        parts = np.array_split(array, buckets)
        longest = _LEAST_WAIT_S + size / _LEAST_BYTES_PER_S
        end = self.clock() + seconds
        durations, wrong, farthest = list[int](), 0, 0.0
        while True:
            turn = len(durations)
            _fill(array, _pattern(self.ranks.rank, turn))
            is_enough = turn >= _LEAST_CALLS and (self.clock() >= end or turn >= _MOST_CALLS)
            if not self._agree_to_continue(not is_enough):
                break
            start = self.clock()
            for request in [self.ranks.sum(part) for part in parts]:
                wait(request, self.ranks.check, longest)
            durations.append(round(1e9 * (self.clock() - start)))
            expected = np.sum([_pattern(rank, turn) for rank in range(self.ranks.size)], axis=0)
            different, distance = _differences(array, expected)
            wrong, farthest = wrong + different, max(farthest, distance)
        return self._conclude(size, durations, wrong, farthest)

    def _agree_to_continue(self, is_wanted: bool) -> bool:
        """Return what rank 0 wants, on all ranks at about the same time."""
        self._flag[0] = is_wanted and self.ranks.rank == 0
        wait(self.ranks.sum(self._flag), self.ranks.check, _LEAST_WAIT_S)
        return bool(self._flag[0])

    def _conclude(self, size: int, durations: list[int], wrong: int, farthest: float) -> Measured:
        """Return the measurement of all ranks.

        Ranks do not begin at exactly the same time. The first waits too long and the last too little, and
        their mean has no such error.
        """
        told = self.ranks.gather(msgspec.json.encode((durations, wrong, farthest)))
        shares = [msgspec.json.decode(message, type=tuple[list[int], int, float]) for message in told]
        sample = analyze(np.rint(np.mean([each for each, _, _ in shares], axis=0)).astype(np.int64))
        by_rank = [different for _, different, _ in shares]
        error = max(distance for _, _, distance in shares)
        metrics = {"wrong": float(sum(by_rank))}
        if sample.statistics.median:
            rate = size * 1e-6 / sample.statistics.median
            share = 2 * (self.ranks.size - 1) / self.ranks.size
            metrics |= {"algbw_gb_per_s": rate, "busbw_gb_per_s": rate * share}
        if not any(by_rank):
            return Measured("ok", sample=sample, error=error, metrics=metrics)
        first = name_of(self.ranks, next(rank for rank, different in enumerate(by_rank) if different))
        checked = size // 4 * len(durations) * self.ranks.size
        reason = (
            f"{sum(by_rank)} of {checked} values are wrong, the first on {first}: its memory, the network or "
            f"{self.ranks.library} is broken; do not train on it"
        )
        return Measured("error", reason, sample=sample, error=error, metrics=metrics)


def _pattern(rank: int, turn: int) -> NDArray[np.float32]:
    """Return the integers that a rank repeats in its array; other ones each turn, as results may stay."""
    place = np.arange(_PERIOD, dtype=np.int64)
    return ((place * (rank % (_PERIOD - 1) + 1) + 17 * turn) % _PERIOD).astype(np.float32)


def _fill(array: NDArray[np.float32], pattern: NDArray[np.float32]) -> None:
    whole = array.size // _PERIOD
    array[: whole * _PERIOD].reshape(whole, _PERIOD)[...] = pattern
    array[whole * _PERIOD :] = pattern[: array.size - whole * _PERIOD]


def _differences(array: NDArray[np.float32], expected: NDArray[np.float32]) -> tuple[int, float]:
    """Return the number of wrong values, and the largest error by the largest value that is expected.

    In blocks, since a comparison of all values would take as much memory again. An error beyond fp32 is its
    largest number.
    """
    whole = array.size // _PERIOD
    table = array[: whole * _PERIOD].reshape(whole, _PERIOD)
    blocks = [table[begin : begin + _BLOCK] for begin in range(0, whole, _BLOCK)]
    wrong, farthest = 0, 0.0
    for block in (*blocks, array[whole * _PERIOD :]):
        wanted = expected[: block.shape[-1]]
        if different := int(np.count_nonzero(block != wanted)):
            wrong += different
            with np.errstate(over="ignore", invalid="ignore"):
                distance = float(np.nan_to_num(np.abs(block - wanted), nan=np.inf).max())
            farthest = max(farthest, min(distance, float(np.finfo(np.float32).max)))
    return wrong, farthest / float(expected.max())
