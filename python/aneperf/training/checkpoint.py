"""Checkpoints: a folder for each, with the arrays as safetensors and everything else as JSON.

A checkpoint is complete or absent: it is written under a temporary name, flushed to disk, and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..checks import count
from ..errors import AneError, ArgumentError
from ..kernels import TransformerConfig
from ..kernels.config import parameter_shapes
from .config import TrainingConfig, differences
from .kernels import Floats
from .llama2c import load_llama2c
from .models import Parameters
from .state import RunState

FORMAT = 1
_ARRAYS, _RECORD = "arrays.safetensors", "checkpoint.json"
_SAVED_PARTS = ("parameters", "mean", "variance")
_NAME = re.compile(r"step-(\d{8})")
_UNFINISHED = re.compile(r"\.step-\d{8}-[0-9a-f]{8}")


class CheckpointError(AneError):
    """A checkpoint cannot be read or written; the message says which, and what to do."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON of a checkpoint."""

    format: int
    step: int
    applied_updates: int
    loss_scale: float
    loss: float | None  # mean of the last batch; None if it is not finite
    separate_classifier: bool
    config: TrainingConfig
    data: str  # description of the source; a run resumes with the same one only
    sha256: str  # of the arrays' file


class Checkpoints:
    """A folder of checkpoints, made by the first: the last `keep`, and the best."""

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2) -> None:
        self.folder = Path(folder)
        self._keep = count("keep", keep)
        if self.folder.exists() and not self.folder.is_dir():
            raise CheckpointError(f"{self.folder} is not a folder")

    def save(
        self,
        config: TrainingConfig,
        state: RunState,
        parts: Mapping[str, Mapping[str, Floats]],
        loss: float,
        data: str,
    ) -> Path:
        """Write a checkpoint, delete those that are not to be kept, and return its folder.

        Also deletes later checkpoints, left by an abandoned continuation.
        """
        target = self.folder / f"step-{state.step:08d}"
        temporary = self.folder / f".{target.name}-{secrets.token_hex(4)}"
        try:
            temporary.mkdir(parents=True)
            _write(temporary, config, state, parts, loss, data)
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
            _flush(self.folder)
        except OSError as error:
            raise CheckpointError(f"{target} cannot be written: {error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._delete_others(state.step)
        return target

    def steps(self) -> list[int]:
        """List the steps of the checkpoints, the oldest first."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir() if path.is_dir())
        return sorted(int(match[1]) for match in found if match)

    def load(self, step: int | None = None) -> tuple[Record, dict[str, Parameters]]:
        """Read the checkpoint of a step, or the last: its record, and its arrays by part and name.

        Raises CheckpointError for a damaged one, and names the one before it.
        """
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"{self.folder} has no checkpoint")
        if step is None:
            step = steps[-1]
        if step not in steps:
            raise CheckpointError(f"{self.folder} has no checkpoint of step {step}: it has {steps}")
        try:
            return _read(self.folder / f"step-{step:08d}")
        except CheckpointError as error:
            earlier = [other for other in steps if other < step]
            advice = f"; the one before is of step {earlier[-1]}" if earlier else "; there is none before it"
            raise CheckpointError(f"{error}{advice}") from error

    def _delete_others(self, last: int) -> None:
        for path in self.folder.iterdir():
            # A killed process leaves unfinished ones, and an abandoned continuation later ones.
            if _UNFINISHED.fullmatch(path.name) or ((m := _NAME.fullmatch(path.name)) and int(m[1]) > last):
                shutil.rmtree(path, ignore_errors=True)
        steps = self.steps()
        losses: dict[int, float] = {}
        for step in steps:
            with contextlib.suppress(CheckpointError):
                loss = _record(self.folder / f"step-{step:08d}").loss
                losses[step] = math.inf if loss is None else loss
        best = min(losses, key=lambda step: losses[step], default=None)
        for step in steps[: -self._keep]:
            if step != best:
                shutil.rmtree(self.folder / f"step-{step:08d}", ignore_errors=True)


class RunCheckpoints:
    """The checkpoint that a run resumes from, if any, and those that it saves."""

    def __init__(
        self, folder: str | os.PathLike[str] | None, keep: int, every: int, resume: bool | int
    ) -> None:
        if folder is None and resume is not False:
            raise ArgumentError("resume needs the folder of the checkpoints")
        self._checkpoints = None if folder is None else Checkpoints(folder, keep)
        self._every, self._data = count("checkpoint_every", every), ""
        self.record: Record | None = None
        self.parts: Mapping[str, Parameters] = {}
        if self._checkpoints is not None and resume is not False:
            self.record, self.parts = self._checkpoints.load(None if resume is True else resume)
        elif self._checkpoints is not None and (steps := self._checkpoints.steps()):
            raise ArgumentError(
                f"{folder} has checkpoints, the last of step {steps[-1]}: resume, or name another folder"
            )
        self.step = self._last = 0 if self.record is None else self.record.step

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
        return self._checkpoints.save(config, state, parts, loss, self._data)


def load_model(path: str | os.PathLike[str]) -> tuple[TransformerConfig, Parameters]:
    """Read the model in a llama2.c file, a checkpoint, or the last checkpoint of a folder.

    Raises ArgumentError or CheckpointError.
    """
    path = Path(path)
    if not path.is_dir():
        return load_llama2c(path)
    one = _NAME.fullmatch(path.name)
    record, parts = Checkpoints(path.parent).load(int(one[1])) if one else Checkpoints(path).load()
    if record.config.as_published:
        raise ArgumentError(f"{path} was trained as published, without positions: only its run can resume it")
    return record.config.model, parts["parameters"]


def _write(
    folder: Path,
    config: TrainingConfig,
    state: RunState,
    parts: Mapping[str, Mapping[str, Floats]],
    loss: float,
    data: str,
) -> None:
    arrays, record = folder / _ARRAYS, folder / _RECORD
    save_file({f"{part}/{name}": a for part in _SAVED_PARTS for name, a in parts[part].items()}, arrays)
    text = msgspec.json.encode(
        Record(
            format=FORMAT,
            step=state.step,
            applied_updates=state.applied_updates,
            loss_scale=state.loss_scale,
            loss=loss if math.isfinite(loss) else None,
            separate_classifier="classifier" in parts["parameters"],
            config=config,
            data=data,
            sha256=_digest(arrays),
        )
    )
    record.write_bytes(msgspec.json.format(text) + b"\n")
    for path in (arrays, record, folder):
        _flush(path)


def _record(folder: Path) -> Record:
    path = folder / _RECORD
    try:
        text = path.read_bytes()
        version = msgspec.json.decode(text, type=_Format).format
        if version > FORMAT:
            raise CheckpointError(f"{path} is of format {version}; this aneperf reads {FORMAT}: upgrade it")
        return msgspec.json.decode(text, type=Record)
    except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _read(folder: Path) -> tuple[Record, dict[str, Parameters]]:
    record, path = _record(folder), folder / _ARRAYS
    try:
        if _digest(path) != record.sha256:
            raise CheckpointError(f"{path} is damaged: its checksum is not the one in {_RECORD}")
        shapes = parameter_shapes(record.config.model, record.separate_classifier)
        with safe_open(path, "np") as file:
            parts = {
                part: {name: file.get_tensor(f"{part}/{name}") for name in shapes} for part in _SAVED_PARTS
            }
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    for part, arrays in parts.items():
        for name, array in arrays.items():
            if array.dtype != "float32" or array.shape != shapes[name]:
                raise CheckpointError(f"{path}: {part}/{name} is {array.dtype}{list(array.shape)}")
    return record, parts


class _Format(msgspec.Struct):
    format: int


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
