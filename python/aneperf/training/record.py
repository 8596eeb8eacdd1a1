"""The record of a checkpoint: everything but its arrays, as JSON that ends with a checksum of itself."""

from __future__ import annotations

import hashlib
import math
import os
import re
from pathlib import Path

import msgspec

from .. import bounds
from ..checks import count, shown
from ..errors import AneError, ArgumentError
from ..files import LONGEST_QUOTE, one_line, read_input
from ..kinds import Kind
from .config import TrainingConfig
from .data import SYNTHETIC
from .hugging_face_config import HuggingFaceConfig
from .strict_json import decode_strictly
from .vocabulary import Vocabulary

FORMAT = 4
_ENDING = re.compile(rb'(.*),\n  "checksum": "([0-9a-f]{64})"\n}\n', re.S)
_SHA256 = re.compile("[0-9a-f]{64}")
_LONGEST_LINE = 1000
_LONGEST_PATH = 4096


class CheckpointError(AneError):
    """A checkpoint cannot be read or written; the message says which, and what to do."""


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a run, besides its configuration, that resuming takes over. Raises ArgumentError.

    Paths are absolute. One that is no line of text is None.
    """

    device: str
    compile_timeout: float
    data: str | None
    weights: str | None
    state_folder: str | None
    eval_data: str | None
    eval_every: int
    eval_sequences: int
    telemetry: str | None
    tensorboard: str | None
    checkpoint_every: float
    keep: int
    peak_tflops: float | None

    def __post_init__(self) -> None:
        _check_line("device", self.device)
        bounds.within("compile_timeout", self.compile_timeout, bounds.COMPILE_TIMEOUT)
        if self.peak_tflops is not None:
            bounds.within("peak_tflops", self.peak_tflops, bounds.PEAK_TFLOPS)
        for name in ("eval_every", "eval_sequences", "keep"):
            count(name, getattr(self, name), most=bounds.STEPS)
        bounds.within("checkpoint_every", self.checkpoint_every, bounds.MINUTES)
        for name in ("data", "weights", "state_folder", "eval_data", "telemetry", "tensorboard"):
            path = getattr(self, name)
            if path is not None and not (name == "data" and path == SYNTHETIC):
                _check_line(name, path, _LONGEST_PATH)
                if not os.path.isabs(path):
                    raise ArgumentError(f"{name} must be an absolute path, not {shown(path)}")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON of a checkpoint. Raises ArgumentError for numbers that no run can have."""

    format: int = FORMAT
    step: int
    applied_updates: int
    loss_scale: float
    loss: float | None  # mean of the last batch; None if it is not finite
    evaluated: int  # the step of the last validation loss; 0 before the first
    best_loss: float | None  # of validation, up to that step
    best_step: int
    separate_classifier: bool
    config: TrainingConfig
    data: str  # description of the source; a run resumes with the same one only
    evaluation: str | None  # the same of the sequences of validation
    options: RunOptions
    origin: HuggingFaceConfig | None  # of the folder of the initial weights
    tokenizer_sha256: str | None  # of that folder's tokenizer
    sha256: str  # of the arrays' file
    vocabulary: Vocabulary | None = None  # of the data, if it tells

    def __post_init__(self) -> None:
        count("step", self.step, 1, min(self.config.steps, bounds.STEPS))
        count("applied_updates", self.applied_updates, 0, -(-self.step // self.config.accumulation))
        bounds.within("loss_scale", self.loss_scale, (bounds.LOSS_SCALE[0], self.config.loss_scale))
        count("evaluated", self.evaluated, 0, self.step)
        best = (0, 0) if self.best_loss is None else (1, self.evaluated)
        count("best_step", self.best_step, *best)
        for name, loss in (("loss", self.loss), ("best_loss", self.best_loss)):
            if loss is not None:
                bounds.within(name, loss, (0.0, math.inf))
        _check_line("data", self.data)
        if self.evaluation is not None:
            _check_line("evaluation", self.evaluation)
        if self.tokenizer_sha256 is not None and self.origin is None:
            raise ArgumentError("tokenizer_sha256 is of a tokenizer, and origin, whose it is, is missing")
        for name, digest in (("sha256", self.sha256), ("tokenizer_sha256", self.tokenizer_sha256)):
            if digest is not None and not _SHA256.fullmatch(digest):
                raise ArgumentError(f"{name} must be 64 hexadecimal digits, not {shown(digest)}")

    def to_json(self) -> bytes:
        """Return the text of the record's file."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=2).removesuffix(b"\n}")
        return text + b',\n  "checksum": "' + _checksum(text) + b'"\n}\n'

    @staticmethod
    def load(path: Path, step: int) -> Record:
        """Read the record of a step. Raises CheckpointError."""
        text = read_input(path, Kind.CHECKPOINT, bounds.RECORD_BYTES, CheckpointError)
        try:
            written = msgspec.json.decode(text, type=_Format).format
            if written != FORMAT:
                raise CheckpointError(
                    f"{path}: is of format {written}, and this aneperf reads {FORMAT}: "
                    "resume with the aneperf that wrote it"
                )
            ending = _ENDING.fullmatch(text)
            if ending is None or _checksum(ending[1]) != ending[2]:
                raise CheckpointError(f"{path}: is damaged: its checksum is not that of its text")
            record = decode_strictly(ending[1] + b"}", Record)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: is damaged: {one_line(error, LONGEST_QUOTE)}") from error
        if record.step != step:
            raise CheckpointError(f"{path}: is of step {record.step}, in the folder of step {step}")
        return record


class _Format(msgspec.Struct):
    format: int


def _check_line(name: str, text: str, longest: int = _LONGEST_LINE) -> None:
    if len(text) > longest or not text.isprintable():
        raise ArgumentError(f"{name} must be a line of text, not {shown(text)}")


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
