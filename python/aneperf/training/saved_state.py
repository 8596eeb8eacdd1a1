"""Read a checkpoint: its record, and its arrays one at a time, since all take 3/5 of a run's state."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from ..checks import shown
from ..kernels.config import parameter_shapes
from .arrays import Arrays
from .kernels import Floats
from .models import check_values
from .record import CheckpointError, Record
from .safetensors_file import Entry, Safetensors
from .state import SAVED_PARTS, PartShapes, part_shapes, values_of

ARRAYS, RECORD = "arrays.safetensors", "checkpoint.json"


class SavedState:
    """An open checkpoint. Its arrays, by part and name, are read when they are asked for.

    Raises CheckpointError for a damaged one and for values that no run can resume, and when an array is read
    whose file was changed since.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.record = Record.load(folder / RECORD, step)
        path = folder / ARRAYS
        self._file = Safetensors(path, CheckpointError)
        try:
            shapes = _checked_shapes(path, self._file.entries, self.record)
            self.parts = {part: Arrays(arrays, partial(self._read, part)) for part, arrays in shapes.items()}
            if self._file.sha256() != self.record.sha256:
                raise CheckpointError(f"{path}: is damaged: its checksum is not the one in {RECORD}")
            for part, arrays in self.parts.items():
                check_part(part, arrays, f"{path}: no run can resume it")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SavedState:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file of the arrays."""
        self._file.close()

    @property
    def weights(self) -> Arrays:
        """Return the model's own parameters, which adapters leave as they are."""
        return self.parts.get("frozen", self.parts["parameters"])

    def _read(self, part: str, name: str) -> Floats:
        value = self._file.read(f"{part}/{name}")
        self._file.check_unchanged()
        return value


class UntoldState:
    """A checkpoint that another rank has open: its arrays are 0 here until that rank tells them."""

    def __init__(self, record: Record) -> None:
        self.record = record
        shapes = parameter_shapes(record.config.model, record.separate_classifier)
        self.weights = Arrays(shapes, lambda name: np.zeros(shapes[name], np.float32))
        self.parts: Mapping[str, Arrays] = {}

    def close(self) -> None:
        """Do nothing: no file is open."""


def check_part(part: str, arrays: Mapping[str, Floats], where: str) -> None:
    """Raise CheckpointError if a run cannot continue from arrays of a part of its state."""
    try:
        for name, value in arrays.items():
            check_values({name: value}, error=CheckpointError)
            if part == "variance" and float(value.min()) < 0:
                raise CheckpointError(f"the variance of {name} has values below 0")
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from None


def _checked_shapes(path: Path, found: Mapping[str, Entry], record: Record) -> PartShapes:
    """Return the shapes that the run's arrays have, and were found to have; compare the sizes first."""
    shapes = part_shapes(record.config, record.separate_classifier)
    shapes = {part: shapes[part] for part in SAVED_PARTS if shapes[part]}
    data = 4 * values_of(shapes)
    size = max((entry.data_offsets[1] for entry in found.values()), default=0)
    if size != data:
        raise CheckpointError(f"{path}: is damaged: its arrays take {size} bytes, those of its model {data}")
    expected = {f"{part}/{name}": shape for part, arrays in shapes.items() for name, shape in arrays.items()}
    if different := found.keys() ^ expected.keys():
        raise CheckpointError(f"{path}: is damaged: {shown(min(different))} is missing, or not of its model")
    for name, entry in found.items():
        shape = expected[name]
        if entry.dtype != "F32" or entry.shape != shape:
            raise CheckpointError(f"{path}: {name} is {entry.dtype}{list(entry.shape)}, not F32{list(shape)}")
    return shapes
