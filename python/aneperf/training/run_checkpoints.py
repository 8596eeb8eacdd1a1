"""The checkpoints of one run: the one that it resumes, when it saves, and where if its folder is full."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from ..bounds import STEPS
from ..checks import count
from ..errors import ArgumentError
from .checkpoint import Checkpoints
from .config import TrainingConfig, differences
from .folder_lock import FolderLock
from .models import Parameters
from .record import CheckpointError, Record
from .state import RunState


class RunCheckpoints:
    """The checkpoint that a run resumes from, if any, and those that it saves. Locks their folder.

    Where a checkpoint cannot be written, one of the folders `elsewhere` may take it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        keep: int,
        every: int,
        resume: bool | int,
        elsewhere: Sequence[Path] = (),
    ) -> None:
        if folder is None and resume is not False:
            raise ArgumentError("resume needs the folder of the checkpoints")
        self._checkpoints = None if folder is None else Checkpoints(folder, keep)
        self._every, self._data = count("checkpoint_every", every, most=STEPS), ""
        self._elsewhere = elsewhere
        self._lock: FolderLock | None = None
        self.record: Record | None = None
        self.parts: Mapping[str, Parameters] = {}
        if self._checkpoints is not None:
            self._begin(self._checkpoints, resume)
        self.step = self._last = 0 if self.record is None else self.record.step

    def __enter__(self) -> RunCheckpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def loss(self) -> float | None:
        """Return the loss that the resumed checkpoint records."""
        return None if self.record is None else self.record.loss

    def check(self, config: TrainingConfig, data: str) -> None:
        """Raise CheckpointError unless the run continues that of the checkpoint."""
        self._data = data
        record = self.record
        if record is None:
            return
        found = differences(config, record.config)
        if data != record.data:
            found.append(f"data is {data!r}, was {record.data!r}")
        if found:
            raise CheckpointError(
                f"the checkpoint of step {record.step} is of another run: {'; '.join(found)}"
            )
        if record.step >= config.steps:
            raise CheckpointError(
                f"the checkpoint of step {record.step} has the {config.steps} steps of this run: ask for more"
            )
        if record.step % config.accumulation:
            raise CheckpointError(
                f"the checkpoint of step {record.step} ends within a batch of {config.accumulation} steps, "
                "and a resumed run begins with a whole one: resume an earlier one, or begin from its weights"
            )

    def restore(self, state: RunState, parts: Mapping[str, Parameters]) -> None:
        """Copy everything but the parameters from the checkpoint, and free it."""
        if self.record is None:
            return
        state.step, state.applied_updates = self.record.step, self.record.applied_updates
        state.loss_scale = self.record.loss_scale
        for part in ("mean", "variance"):
            for name, value in self.parts[part].items():
                parts[part][name][:] = value
        self.parts = {}

    def is_due(self, batch: int) -> bool:
        """Tell if a checkpoint follows this batch, counted from 0."""
        return self._checkpoints is not None and (batch + 1) % self._every == 0

    def is_behind(self, state: RunState) -> bool:
        """Tell if the run has steps that no checkpoint has."""
        return self._checkpoints is not None and self._last < state.step

    def save(
        self, config: TrainingConfig, state: RunState, parts: Mapping[str, Parameters], loss: float
    ) -> Path:
        """Save the state after the last update, and return the checkpoint's folder."""
        assert self._checkpoints is not None
        self._last = state.step
        try:
            return self._checkpoints.save(config, state, parts, loss, self._data)
        except CheckpointError as error:
            if error.__cause__ is None:  # nothing of the folder
                raise
            saved = self._save_elsewhere(config, state, parts, loss)
            raise CheckpointError(
                f"{error}; "
                + (f"it was saved in {saved}: resume from there" if saved else "no other folder took it")
            ) from error

    def _save_elsewhere(
        self, config: TrainingConfig, state: RunState, parts: Mapping[str, Parameters], loss: float
    ) -> Path | None:
        """Save the state in a new folder in the first of the other folders that takes it."""
        for folder in self._elsewhere:
            try:
                place = Path(tempfile.mkdtemp(prefix="aneperf-checkpoint-", dir=folder))
            except OSError:
                continue
            try:
                Checkpoints(place).save(config, state, parts, loss, self._data)
                return place
            except CheckpointError:
                shutil.rmtree(place, ignore_errors=True)
        return None

    def _begin(self, checkpoints: Checkpoints, resume: bool | int) -> None:
        folder = checkpoints.folder
        if resume is not False and not folder.is_dir():
            raise CheckpointError(f"{folder} has no checkpoint")
        self._lock = FolderLock(folder)
        try:
            if resume is not False:
                self.record, self.parts = checkpoints.load(None if resume is True else resume)
            elif steps := checkpoints.steps():
                raise ArgumentError(
                    f"{folder} has checkpoints, the last of step {steps[-1]}: resume, or name another folder"
                )
        except BaseException:
            self.close()
            raise
