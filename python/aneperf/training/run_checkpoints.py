"""The checkpoints that a run saves: when, and where if its folder is full."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .checkpoint import Checkpoints, Run
from .models import Parameters
from .record import CheckpointError
from .state import RunState


class RunCheckpoints:
    """Saves the states of a run, if it has a folder for them: one is due `minutes` after the one before.

    Where a checkpoint cannot be written, one of the folders `elsewhere` may take it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        run: Run,
        *,
        keep: int,
        minutes: float,
        first_step: int,
        elsewhere: Sequence[Path] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checkpoints = None if folder is None else Checkpoints(folder, keep)
        self._run, self._seconds, self._last = run, 60 * minutes, first_step
        self._elsewhere, self._clock = elsewhere, clock
        self._since = clock()

    @property
    def is_due(self) -> bool:
        """Tell if it is time for a checkpoint."""
        return self._checkpoints is not None and self._clock() - self._since >= self._seconds

    def is_behind(self, state: RunState) -> bool:
        """Tell if the run has steps that no checkpoint has."""
        return self._checkpoints is not None and self._last < state.step

    def save(self, state: RunState, parts: Mapping[str, Parameters], loss: float) -> Path:
        """Save the state after the last update, and return the checkpoint's folder."""
        assert self._checkpoints is not None
        self._last = state.step
        try:
            folder = self._checkpoints.save(self._run, state, parts, loss)
            self._since = self._clock()
            return folder
        except CheckpointError as error:
            if error.__cause__ is None:  # nothing of the folder
                raise
            saved = self._save_elsewhere(state, parts, loss)
            raise CheckpointError(
                f"{error}; "
                + (f"it was saved in {saved}: resume from there" if saved else "no other folder took it")
            ) from error

    def _save_elsewhere(self, state: RunState, parts: Mapping[str, Parameters], loss: float) -> Path | None:
        """Save the state in a new folder in the first of the other folders that takes it."""
        for folder in self._elsewhere:
            try:
                place = Path(tempfile.mkdtemp(prefix="aneperf-checkpoint-", dir=folder))
            except OSError:
                continue
            try:
                Checkpoints(place).save(self._run, state, parts, loss)
                return place
            except CheckpointError:
                shutil.rmtree(place, ignore_errors=True)
        return None
