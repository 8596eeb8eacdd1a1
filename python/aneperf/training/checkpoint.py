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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.numpy import save_file

from ..bounds import JSON_BYTES, STEPS, check_memory
from ..checks import count
from ..errors import ArgumentError
from ..files import file_kind, one_line, read_input
from ..kernels import TransformerConfig
from ..kernels.config import parameter_count
from ..kinds import Kind
from ..outputs import flush
from .config import TrainingConfig
from .hugging_face import Origin, is_hugging_face, load_hugging_face, read_origin, tokenizer_of
from .kernels import Floats
from .llama2c import load_llama2c
from .lora import model_weights
from .models import Parameters
from .record import CheckpointError, Record, RunOptions
from .safetensors_file import Safetensors
from .saved_state import ARRAYS, RECORD, SavedState, check_part
from .state import SAVED_PARTS, RunState
from .tokenizer import BYTES, Bytes
from .vocabulary import Vocabulary

_TOKENIZER = "tokenizer.json"
_NAME = re.compile(r"step-(\d{8})")
_UNFINISHED = re.compile(r"\.step-\d{8}-[0-9a-f]{8}")
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Run:
    """Describe a run as all its checkpoints do."""

    config: TrainingConfig
    data: str  # description of the source
    evaluation: str | None  # description of the sequences of validation
    options: RunOptions
    origin: Origin | None  # the Hugging Face folder of the initial weights
    vocabulary: Vocabulary | None = None  # of the data, if it tells


class Checkpoints:
    """A folder of checkpoints, made by the first: the last `keep`, and `with_best` that of the least loss."""

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2, *, with_best: bool = True) -> None:
        self.folder = Path(folder)
        self._with_best = with_best
        self._keep = count("keep", keep, most=STEPS)
        if self.folder.exists() and not self.folder.is_dir():
            raise CheckpointError(f"{self.folder} is not a folder")

    def save(
        self,
        run: Run,
        state: RunState,
        parts: Mapping[str, Mapping[str, Floats]],
        loss: float,
    ) -> Path:
        """Write a checkpoint, delete those that are not to be kept, and return its folder.

        Also deletes later checkpoints, left by an abandoned continuation. Raises CheckpointError, also for
        values that are not finite: no run could resume them.
        """
        for part in SAVED_PARTS:
            check_part(part, parts.get(part, {}), f"the state of step {state.step} cannot be saved")
        with self._new(state.step) as folder:
            _write(folder, run, state, parts, loss)
        return self.path(state.step)

    def adopt(self, other: Path, step: int) -> Path:
        """Save a checkpoint that is in another folder too, as `save` does; both have one file of arrays."""
        with self._new(step) as folder:
            for path in other.iterdir():
                try:
                    (os.link if path.name == ARRAYS else shutil.copy)(path, folder / path.name)
                except OSError:
                    shutil.copy(path, folder)  # the file system has no links
            for path in (*folder.iterdir(), folder):
                flush(path)
        return self.path(step)

    def path(self, step: int) -> Path:
        """Return the folder of a step's checkpoint."""
        return self.folder / f"step-{step:08d}"

    @contextlib.contextmanager
    def _new(self, step: int) -> Iterator[Path]:
        """Make a folder to fill, which is a step's checkpoint after the block, unless that raises."""
        target = self.path(step)
        temporary = self.folder / f".{target.name}-{secrets.token_hex(4)}"
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
            flush(self.folder)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{target} cannot be written: {one_line(error)}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._delete_others(step)

    def steps(self) -> list[int]:
        """List the steps of the checkpoints, the oldest first."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir() if path.is_dir())
        return sorted(int(match[1]) for match in found if match)

    def open(self, step: int | None = None) -> SavedState:
        """Open the checkpoint of a step, or the last.

        Raises CheckpointError for a damaged one, and names the one before it.
        """
        return self._read(step, SavedState)

    def record(self, step: int | None = None) -> Record:
        """Read the record alone of the checkpoint of a step, or the last. Raises as `open` does."""
        return self._read(step, lambda folder, step: Record.load(folder / RECORD, step))

    def origin(self, record: Record) -> Origin | None:
        """Read what a checkpoint keeps of the Hugging Face folder of its run. Raises CheckpointError."""
        if record.origin is None:
            return None
        if record.tokenizer_sha256 is None:
            return Origin(record.origin, None)
        path = self.path(record.step) / _TOKENIZER
        tokenizer = read_input(path, Kind.TOKENIZER, JSON_BYTES, CheckpointError)
        if hashlib.sha256(tokenizer).hexdigest() != record.tokenizer_sha256:
            raise CheckpointError(f"{path}: is damaged: its checksum is not the one in {RECORD}")
        return Origin(record.origin, tokenizer, str(path))

    def _read(self, step: int | None, read: Callable[[Path, int], _Read]) -> _Read:
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"{self.folder} has no checkpoint")
        if step is None:
            step = steps[-1]
        if step not in steps:
            raise CheckpointError(f"{self.folder} has no checkpoint of step {step}: it has {steps}")
        try:
            return read(self.path(step), step)
        except CheckpointError as error:
            earlier = [other for other in steps if other < step]
            advice = f"the one before is of step {earlier[-1]}" if earlier else "no earlier one is there"
            raise CheckpointError(f"{error}; {advice}") from error

    def _delete_others(self, last: int) -> None:
        for path in self.folder.iterdir():
            # A killed process leaves unfinished ones, and an abandoned continuation later ones.
            if _UNFINISHED.fullmatch(path.name) or ((m := _NAME.fullmatch(path.name)) and int(m[1]) > last):
                shutil.rmtree(path, ignore_errors=True)
        steps = self.steps()
        losses: dict[int, float] = {}
        for step in steps if self._with_best else ():
            with contextlib.suppress(CheckpointError):
                loss = Record.load(self.path(step) / RECORD, step).loss
                losses[step] = math.inf if loss is None else loss
        best = min(losses, key=lambda step: losses[step], default=None)
        for step in steps[: -self._keep]:
            if step != best:
                shutil.rmtree(self.path(step), ignore_errors=True)


def is_checkpoint(path: Path) -> bool:
    """Tell if a path has the name of a checkpoint in a folder of them."""
    return _NAME.fullmatch(path.name) is not None


def load_model(path: str | os.PathLike[str]) -> tuple[TransformerConfig, Parameters]:
    """Read a model: a llama2.c file, a Hugging Face folder, a checkpoint, or the last one of a folder.

    Raises ArgumentError or CheckpointError.
    """
    path = Path(path)
    if not path.is_dir():
        if file_kind(path) is Kind.SAFETENSORS:
            raise ArgumentError(f"{path}: is a part of a model: give the folder, with its config.json")
        return load_llama2c(path)
    if is_hugging_face(path):
        return load_hugging_face(path)
    checkpoints, step = _place(path)
    with checkpoints.open(step) as saved:
        config = saved.record.config
        if config.as_published:
            raise ArgumentError(
                f"{path} was trained as published, without positions: only its run can resume it"
            )
        size = 4 * parameter_count(config.model, saved.record.separate_classifier)
        check_memory(f"the model in {path}", size, "free some")
        return config.model, dict(model_weights(config.lora, saved.parts))


def load_origin(path: str | os.PathLike[str]) -> Origin | None:
    """Read what a model's folder, or the first one of a checkpoint's run, holds besides the weights.

    Raises ArgumentError or CheckpointError.
    """
    if is_hugging_face(path):
        return read_origin(path)
    if not Path(path).is_dir():
        return None
    checkpoints, step = _place(Path(path))
    return checkpoints.origin(checkpoints.record(step))


def load_record(path: str | os.PathLike[str]) -> Record | None:
    """Read the record of a checkpoint; None for a model of another kind. Raises CheckpointError."""
    if is_hugging_face(path) or not Path(path).is_dir():
        return None
    checkpoints, step = _place(Path(path))
    return checkpoints.record(step)


def tokenizer_file(path: str | os.PathLike[str]) -> str | None:
    """Return the tokenizer's file in a Hugging Face folder or a checkpoint, if there is one.

    It is "bytes" for a checkpoint whose run had such data. Raises CheckpointError for a damaged one.
    """
    if is_hugging_face(path) or not Path(path).is_dir():
        return tokenizer_of(path)
    checkpoints, step = _place(Path(path))
    record = checkpoints.record(step)
    if record.tokenizer_sha256 is None:
        return BYTES if record.vocabulary == Bytes.vocabulary else None
    origin = checkpoints.origin(record)
    return None if origin is None else origin.path


def _place(path: Path) -> tuple[Checkpoints, int | None]:
    """Return the checkpoints at a path, and the step if it is that of one of them."""
    one = _NAME.fullmatch(path.name)
    if one is None and not Checkpoints(path).steps():
        raise CheckpointError(f"{path} has neither a config.json nor a checkpoint")
    return (Checkpoints(path.parent), int(one[1])) if one else (Checkpoints(path), None)


def _write(
    folder: Path,
    run: Run,
    state: RunState,
    parts: Mapping[str, Mapping[str, Floats]],
    loss: float,
) -> None:
    arrays, record = folder / ARRAYS, folder / RECORD
    written = [arrays, record]
    saved = {f"{part}/{name}": a for part in SAVED_PARTS for name, a in parts.get(part, {}).items()}
    save_file(saved, arrays)
    with Safetensors(arrays, CheckpointError) as file:
        digest = file.sha256()
    config, tokenizer = (run.origin.config, run.origin.tokenizer) if run.origin else (None, None)
    if tokenizer is not None:
        written.append(folder / _TOKENIZER)
        written[-1].write_bytes(tokenizer)
    record.write_bytes(
        Record(
            step=state.step,
            applied_updates=state.applied_updates,
            loss_scale=state.loss_scale,
            loss=loss if math.isfinite(loss) else None,
            evaluated=state.evaluated,
            best_loss=state.best_loss if math.isfinite(state.best_loss) else None,
            best_step=state.best_step,
            separate_classifier="classifier" in model_weights(run.config.lora, parts),
            config=run.config,
            data=run.data,
            evaluation=run.evaluation,
            options=run.options,
            origin=config,
            vocabulary=run.vocabulary,
            tokenizer_sha256=None if tokenizer is None else hashlib.sha256(tokenizer).hexdigest(),
            sha256=digest,
        ).to_json()
    )
    shutil.copymode(record, arrays)  # which safetensors creates for its owner alone
    for path in (*written, folder):
        flush(path)
