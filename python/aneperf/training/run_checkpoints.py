"""The checkpoints that a run saves: when, and where if its folder is full."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from ..errors import ArgumentError
from .checkpoint import Checkpoints, Run, is_checkpoint
from .models import Parameters
from .record import CheckpointError
from .state import RunState

_BEST = "best"


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """How a run saves its checkpoints.

    Where one cannot be written, one of the folders `elsewhere` may take it. The run begins after
    `first_step`, with the validation loss of the step `evaluated`.
    """

    folder: str | None
    run: Run
    keep: int
    minutes: float  # between checkpoints
    first_step: int
    evaluated: int = 0
    elsewhere: Sequence[str] = ()


class RunCheckpoints:
    """Saves the states of a run, if it has a folder for them.

    With validation, the best by its loss is in a folder of its own beside the last.
    """

    def __init__(self, saving: Saving, clock: Callable[[], float] = time.monotonic) -> None:
        folder, run = saving.folder, saving.run
        by_loss = run.evaluation is None
        self._checkpoints = None if folder is None else Checkpoints(folder, saving.keep, with_best=by_loss)
        self._best = None if folder is None or by_loss else best_checkpoints(folder)
        self._run, self._seconds = run, 60 * saving.minutes
        self._last, self._last_best = (saving.first_step, saving.evaluated), 0
        self._elsewhere, self._clock = [Path(path) for path in saving.elsewhere], clock
        self._since = clock()

    @property
    def is_due(self) -> bool:
        """Tell if it is time for a checkpoint."""
        return self._checkpoints is not None and self._clock() - self._since >= self._seconds

    def is_behind(self, state: RunState) -> bool:
        """Tell if the run has steps, or a validation loss, that no checkpoint has."""
        return self._checkpoints is not None and self._last < (state.step, state.evaluated)

    @property
    def keeps_best(self) -> bool:
        """Tell if the run keeps its best state by validation loss."""
        return self._best is not None

    def note(self, state: RunState) -> None:
        """Note that the keeper of this rank saves the state after the last update."""
        self._last, self._since = (state.step, state.evaluated), self._clock()

    def save(self, state: RunState, parts: Mapping[str, Parameters], loss: float) -> Path:
        """Save the state after the last update, and return the checkpoint's folder.

        The arrays of one that was just saved as the best are not written again.
        """
        assert self._checkpoints is not None
        self._last = (state.step, state.evaluated)
        if self._best is not None:
            with contextlib.suppress(CheckpointError):  # a full disk, of which the save below tells
                self._drop_other_best(self._best, self._checkpoints, state.best_step)
        best = None if self._best is None or self._last_best != state.step else self._best
        folder = self._save(self._checkpoints, state, parts, loss, best)
        self._since = self._clock()
        return folder

    def save_best(self, state: RunState, parts: Mapping[str, Parameters], loss: float) -> Path:
        """Save the state after the last update as the best, in place of the best before."""
        assert self._best is not None
        folder = self._save(self._best, state, parts, loss)
        self._last_best = state.step
        return folder

    def _drop_other_best(self, best: Checkpoints, last: Checkpoints, step: int) -> None:
        """Leave no best state but that of `step`: a run that was resumed before its best has another one."""
        if (there := best.steps()) in ([step], []):
            return
        if step in last.steps():
            best.adopt(last.path(step), step)
        for other in there:
            if other != step:
                shutil.rmtree(best.path(other), ignore_errors=True)

    def _save(
        self,
        checkpoints: Checkpoints,
        state: RunState,
        parts: Mapping[str, Parameters],
        loss: float,
        other: Checkpoints | None = None,
    ) -> Path:
        """Save the state, which the `other` folder may have already."""
        try:
            if other is not None:
                return checkpoints.adopt(other.path(state.step), state.step)
            return checkpoints.save(self._run, state, parts, loss)
        except CheckpointError as error:
            if error.__cause__ is None:  # nothing of the folder
                raise
            self._last = (state.step, state.evaluated)
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


def best_checkpoints(folder: str | os.PathLike[str]) -> Checkpoints:
    """Return the folder of the best checkpoint by validation loss, in a run's folder of checkpoints.

    Raises CheckpointError for a link: checkpoints may come from anyone, and a run deletes what it replaces.
    """
    best = Path(folder) / _BEST
    if best.is_symlink():
        raise CheckpointError(f"{best}: is a link, and a run writes nowhere but in its own folder: remove it")
    return Checkpoints(best, keep=1, with_best=False)


def with_step(folder: str | os.PathLike[str], step: int | None) -> Checkpoints:
    """Return a run's checkpoints, or the best one where only that is of a step, or is there at all."""

    def has(checkpoints: Checkpoints) -> bool:
        steps = checkpoints.steps()
        return bool(steps) if step is None else step in steps

    last, best = Checkpoints(folder), best_checkpoints(folder)
    return best if has(best) and not has(last) else last


def check_apart(folder: Path) -> None:
    """Raise ArgumentError for the folder of a run's best checkpoint, and for one in a checkpoint."""
    folder = Path(os.path.realpath(folder))
    for place in (folder, *folder.parents):
        if (place.name == _BEST or is_checkpoint(place)) and Checkpoints(place.parent).steps():
            raise ArgumentError(
                f"{folder}: belongs to the run in {place.parent}, which replaces it: resume that one "
                "(--resume-step takes its best step too), or copy the checkpoint to another folder"
            )
