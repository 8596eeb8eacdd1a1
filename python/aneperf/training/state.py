"""The state of training: arrays in memory that the parent owns and its workers share, and how far it is.

The memory is a file without a name. It disappears with the last process that has it open, however that ends.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bounds import check_memory, mebibytes
from ..errors import ArgumentError
from ..kernels.config import parameter_shapes
from ..runner.child import above_standard_streams
from .config import TrainingConfig
from .kernels import Flags, Floats
from .lora import matrix_of
from .models import Parameters

_SHARED_MEMORY = Path("/dev/shm")
_ADVICE = "name a folder for it with state_folder (--state-folder)"

SAVED_PARTS = ("parameters", "mean", "variance", "frozen")  # by checkpoints
_SETS = ("gradients_0", "gradients_1")
PartShapes = Mapping[str, Mapping[str, tuple[int, ...]]]


@dataclass
class RunState:
    """How far a run is; with the arrays of SharedState, everything that resuming needs."""

    loss_scale: float
    step: int = 0
    applied_updates: int = 0
    evaluated: int = 0  # the step of the last validation loss
    best_loss: float = math.inf  # of validation
    best_step: int = 0


class SharedState:
    """fp32 arrays by part and parameter name, and the tokens of the current step, in one shared mapping.

    There is a flag for each matrix and norm, which the worker raises when its gradients are finished.
    """

    def __init__(self, shapes: PartShapes, seq: int, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, bytes_needed(shapes, seq))
        self.tokens = np.frombuffer(self._memory, np.int32)[-(seq + 1) :]
        values = np.frombuffer(self._memory, np.float32)
        self.parts: dict[str, Parameters] = {}
        self.flat: dict[str, Floats] = {}  # all values of a part
        begin = end = 0
        for part, arrays in shapes.items():
            self.parts[part], first = {}, begin
            for name, shape in arrays.items():
                end = begin + math.prod(shape)
                self.parts[part][name] = values[begin:end].reshape(shape)
                begin = end
            self.flat[part] = values[first:end]
        names = flagged(shapes)
        self.all_flags = np.frombuffer(self._memory, np.int32)[end : end + len(names)]
        self.flags: dict[str, Flags] = {
            name: self.all_flags[index : index + 1] for index, name in enumerate(names)
        }

    @classmethod
    def create(cls, shapes: PartShapes, seq: int, folder: Path | None = None) -> SharedState:
        """Allocate a state of zeros in shared memory, or in a file in `folder`.

        Raises ArgumentError before anything is written if the state does not fit.
        """
        needed = bytes_needed(shapes, seq)
        place = check_room(needed, folder)
        try:
            with tempfile.TemporaryFile(dir=place, prefix="aneperf-") as file:
                descriptor = above_standard_streams(file.fileno())
            try:
                _allocate(descriptor, needed)
                return cls(shapes, seq, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise ArgumentError(
                f"no room for {mebibytes(needed)} of training state in {place}: {error}; {_ADVICE}"
            ) from error

    def close(self) -> None:
        """Release the memory; arrays in use keep it until they are deleted."""
        self.parts, self.flat, self.flags = {}, {}, {}
        del self.tokens, self.all_flags
        os.close(self.descriptor)


def part_shapes(config: TrainingConfig, separate_classifier: bool) -> PartShapes:
    """Return the shapes of a state's arrays by part and name.

    `parameters` are what is trained: the model's, or adapters, where the model's are `frozen`. The optimizer
    has two moments of them. A step reads the sum of gradients so far from one set and writes the new sum to
    the other, so that an interrupted step can be repeated.
    """
    model = parameter_shapes(config.model, separate_classifier)
    trained, frozen = (model, {}) if config.lora is None else (config.lora.shapes(config.model), model)
    return {**dict.fromkeys(SAVED_PARTS + _SETS, trained), "frozen": frozen}


def flagged(shapes: PartShapes) -> list[str]:
    """Return the matrices and norms that have gradients, in the order of these in memory."""
    return list(dict.fromkeys(map(matrix_of, shapes["parameters"])))


def bytes_needed(shapes: PartShapes, seq: int) -> int:
    """Return the bytes of a state with these arrays and sequences of `seq` tokens."""
    return 4 * (values_of(shapes) + len(flagged(shapes)) + seq + 1)


def values_of(shapes: PartShapes) -> int:
    """Count the values of all parts."""
    return sum(math.prod(shape) for arrays in shapes.values() for shape in arrays.values())


def check_room(needed: int, folder: Path | None) -> Path:
    """Return the folder for a state of this size. Raises ArgumentError if it has no room."""
    place = folder if folder is not None else _default_folder()
    try:
        found = os.statvfs(place)
    except OSError as error:
        raise ArgumentError(f"{place} cannot hold the training state: {error.strerror}; {_ADVICE}") from error
    free = found.f_bavail * found.f_frsize
    if free < needed:
        raise ArgumentError(
            f"the state of training takes {mebibytes(needed)}, and {place} has {free >> 20} MiB free: "
            f"{_ADVICE}"
        )
    if place == _SHARED_MEMORY:
        check_memory("the state of training", needed, _ADVICE)
    return place


def _default_folder() -> Path:
    return _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())


def _allocate(descriptor: int, size: int) -> None:
    # If memory is promised but missing, its first use ends the process with a signal.
    if sys.platform == "linux":
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)
