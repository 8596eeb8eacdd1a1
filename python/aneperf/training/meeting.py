"""The words of the ranks to each other between batches, so that all of them do the same."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from ..cluster.communicator import Communicator, name_of
from ..files import one_line
from .kernels import Floats
from .worker import TrainingError

_T = TypeVar("_T")


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """One rank's word: what it has done, and whether it can continue."""

    losses: Sequence[float] = ()  # of its sequences
    work_ns: int = 0  # time of its steps, with what they waited for on this rank
    stop: int = 0  # the signal that asks the run to end
    failure: str | None = None  # why this rank cannot continue
    checksum: int | None = None  # of parameters and moments


class StatesDiffer(TrainingError):
    """The states of the ranks differ in some bits."""


def meet(communicator: Communicator, word: Word, failure: Exception | None = None) -> list[Word]:
    """Exchange words with the other ranks, which all come here.

    Raises the `failure` of this rank, TrainingError if another rank failed, and StatesDiffer if checksums do.
    """
    if failure is not None:
        word = msgspec.structs.replace(word, failure=one_line(failure))
    decoder = msgspec.msgpack.Decoder(Word)
    words = [decoder.decode(message) for message in communicator.gather(msgspec.msgpack.encode(word))]
    if failure is not None:
        raise failure
    for rank, each in enumerate(words):
        if each.failure is not None:
            raise TrainingError(f"{name_of(communicator, rank)}: {each.failure}")
    differing = [rank for rank, each in enumerate(words) if each.checksum != words[0].checksum]
    if differing:
        names = ", ".join(name_of(communicator, rank) for rank in differing)
        raise StatesDiffer(
            f"{names}: the parameters or moments differ from those of {name_of(communicator, 0)}, which must "
            "have the same bits: one of the machines, or their network, damages data"
        )
    return words


def stop_of(words: Iterable[Word]) -> int:
    """Return the signal that ends the run on all ranks, or 0."""
    return max(word.stop for word in words)


def losses_of(words: Sequence[Word]) -> list[float]:
    """Return the losses of sequences that were dealt out to the ranks one by one, in their order."""
    total = sum(len(word.losses) for word in words)
    return [words[index % len(words)].losses[index // len(words)] for index in range(total)]


def checksum(arrays: Iterable[Floats]) -> int:
    """Return a checksum of contiguous arrays."""
    found = 0
    for array in arrays:
        found = zlib.crc32(array.data, found)
    return found
