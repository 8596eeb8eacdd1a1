"""Checkpoints: a folder for each, with the arrays as safetensors and all else as JSON.

A checkpoint appears whole or not at all: it is written under another name, flushed to disk, and renamed.
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

from ..errors import AneError, ArgumentError
from .config import TrainingConfig
from .kernels import Floats
from .models import Parameters, parameter_shapes
from .trainer import Progress

FORMAT = 1
_ARRAYS, _RECORD = "arrays.safetensors", "checkpoint.json"
_SAVED_PARTS = ("parameters", "mean", "variance")
_NAME = re.compile(r"step-(\d{8})")
_UNFINISHED = re.compile(r"\.step-\d{8}-[0-9a-f]{8}")


class CheckpointError(AneError):
    """A checkpoint cannot be read or written; says which, and what to do."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a checkpoint's JSON has."""

    format: int
    step: int
    applied_updates: int
    loss_scale: float
    loss: float | None  # mean of the last batch; None is not a number
    separate_classifier: bool
    config: TrainingConfig
    data: str  # what the sequences come from: another source is another run
    sha256: str  # of the arrays' file


class Checkpoints:
    """The checkpoints in a folder, which the first one makes: the last `keep`, and the best."""

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2) -> None:
        self.folder = Path(folder)
        self._keep = keep
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ArgumentError(f"checkpoints: keep {keep!r} is not an integer of at least 1")
        if self.folder.exists() and not self.folder.is_dir():
            raise CheckpointError(f"{self.folder} is not a folder")

    def save(
        self,
        config: TrainingConfig,
        progress: Progress,
        parts: Mapping[str, Mapping[str, Floats]],
        loss: float,
        data: str,
    ) -> Path:
        """Write a checkpoint of this moment and drop what is not to be kept. The folder it is in.

        Later ones are dropped too: they are of a run that was gone back from.
        """
        target = self.folder / f"step-{progress.step:08d}"
        temporary = self.folder / f".{target.name}-{secrets.token_hex(4)}"
        try:
            temporary.mkdir(parents=True)
            arrays = {f"{part}/{name}": a for part in _SAVED_PARTS for name, a in parts[part].items()}
            save_file(arrays, temporary / _ARRAYS)
            record = Record(
                format=FORMAT,
                step=progress.step,
                applied_updates=progress.applied_updates,
                loss_scale=progress.loss_scale,
                loss=loss if math.isfinite(loss) else None,
                separate_classifier="classifier" in parts["parameters"],
                config=config,
                data=data,
                sha256=_digest(temporary / _ARRAYS),
            )
            (temporary / _RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
            for path in (temporary / _ARRAYS, temporary / _RECORD, temporary):
                _flush(path)
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
            _flush(self.folder)
        except OSError as error:
            raise CheckpointError(f"{target} cannot be written: {error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._drop_others(progress.step)
        return target

    def steps(self) -> list[int]:
        """Of the checkpoints there are, the oldest first."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir() if path.is_dir())
        return sorted(int(match[1]) for match in found if match)

    def load(self, step: int | None = None) -> tuple[Record, dict[str, Parameters]]:
        """The checkpoint of a step, or the last: its record, and parameters and moments by part and name.

        Raises CheckpointError for one that is damaged, naming the one before it.
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

    def _drop_others(self, last: int) -> None:
        for path in self.folder.iterdir():
            # What a killed process did not finish, and what comes after this.
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
