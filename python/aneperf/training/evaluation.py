"""Validation: the loss of sequences that are not trained on, and after which updates it is computed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..bounds import STEPS
from ..checks import count
from .config import TrainingConfig
from .data import TokenFile


class Evaluation:
    """The validation of a run: the same sequences each time, evenly spaced in a file of tokens.

    There are at most `sequences` of them, and fewer in a file that has no more without overlap.
    """

    def __init__(self, data: TokenFile, *, sequences: int, every: int) -> None:
        self._every = count("eval_every", every, most=STEPS)
        self._data = data
        last = len(data) - data.seq - 1
        number = min(count("eval_sequences", sequences, most=STEPS), last // data.seq + 1)
        self._begins = [index * last // max(1, number - 1) for index in range(number)]

    def __len__(self) -> int:
        return len(self._begins)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """Yield the tokens of the sequences, with the targets one position later: [seq + 1]."""
        return map(self._data.window, self._begins)

    @property
    def description(self) -> str:
        """Describe the sequences, independent of where they are kept."""
        return f"{len(self)} sequences of {self._data.description}"

    def is_due(self, update: int, updates: int) -> bool:
        """Tell if a loss is computed after an update, counted from 1: every so often, and after the last."""
        return update % self._every == 0 or update == updates

    def is_owed(self, step: int, evaluated: int, config: TrainingConfig) -> bool:
        """Tell if a loss is due after `step` steps of a run whose last one was after `evaluated`."""
        return evaluated < step and self.is_due(-(-step // config.accumulation), config.updates)
