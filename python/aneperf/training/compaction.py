"""Training on a part of the vocabulary: the tokens that occur in the data.

The embedding and the classifier of such a run have a row for each of these tokens, and so do the gradients
and moments of both. The other rows stay as they are, and take part in nothing: the softmax is over the tokens
of the data alone. Source: maderix/ANE, training/training_dynamic.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..cluster.communicator import Communicator, broadcast
from ..errors import ArgumentError
from .arrays import Arrays
from .data import Data, TokenFile
from .kernels import Floats
from .meeting import checksum
from .models import Parameters

_BY_TOKEN = ("embedding", "classifier")
_TOKENS = "tokens"


def compact(data: Data) -> NDArray[np.int64]:
    """Number the tokens of the data by their places among those that occur, and return these, ascending.

    Raises ArgumentError for random tokens, which are of the whole vocabulary.
    """
    if not isinstance(data, TokenFile):
        raise ArgumentError("compact_vocabulary needs a file of tokens as data: random ones may be any")
    data.renumber(data.used)
    return data.used


def compacted(vocab: int, whole: int) -> str:
    """Say what the compaction changes in the loss."""
    return (
        f"Compact vocabulary: the loss is over the {vocab} of {whole} tokens that the data has, and lower "
        f"for it: where all are equally likely, {math.log(vocab):.4f} and not {math.log(whole):.4f}."
    )


class Rows:
    """The rows, in the arrays of a model, of the `tokens` that a run trains; None trains all."""

    def __init__(self, parameters: Mapping[str, Floats], tokens: NDArray[np.int64] | None) -> None:
        self._tokens = tokens
        # All rows before the run, to save those that it does not train.
        self._whole = {} if tokens is None else {n: parameters[n] for n in _BY_TOKEN if n in parameters}

    def take_over(self, communicator: Communicator) -> None:
        """Replace the rows that the run does not train by those of rank 0; all ranks call this."""
        for name, array in self._whole.items():
            self._whole[name] = array if communicator.rank == 0 else array.copy()
            broadcast(communicator, self._whole[name])

    def checksum(self) -> int:
        """Return a checksum of the arrays whose rows the run does not all train."""
        return checksum(map(np.ascontiguousarray, self._whole.values()))

    def to_file(self) -> IO[bytes]:
        """Write these rows to a file without a name, for another process."""
        arrays: dict[str, Any] = dict(self._whole)
        if self._tokens is not None:
            arrays[_TOKENS] = self._tokens
        file = tempfile.TemporaryFile()  # noqa: SIM115  which the caller closes
        np.savez(file, **arrays)
        file.seek(0)
        return file

    @classmethod
    def of_file(cls, file: IO[bytes]) -> Rows:
        """Read the rows that another process wrote."""
        arrays = dict(np.load(file))
        return cls(arrays, arrays.pop(_TOKENS, None))

    def gather(self, arrays: Mapping[str, Floats]) -> Arrays:
        """Return the arrays with these rows only."""
        return Arrays(
            arrays, lambda name: arrays[name][self._tokens] if name in self._whole else arrays[name]
        )

    def scatter(self, part: str, arrays: Mapping[str, Floats]) -> Parameters:
        """Return the arrays of a part of the state with all rows: parameters as they were, and no moments."""
        whole = dict(arrays)
        for name in self._whole.keys() & arrays.keys():
            before = self._whole[name]
            whole[name] = np.zeros_like(before) if part in ("mean", "variance") else before.copy()
            whole[name][self._tokens] = arrays[name]
        return whole
