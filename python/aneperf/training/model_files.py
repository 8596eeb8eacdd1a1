"""Models from wherever they are kept: a file of llama2.c, a folder of checkpoints, or one checkpoint."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .._ane_native import ArgumentError
from ..kernels import TransformerConfig
from .checkpoint import Checkpoints
from .llama2c import load_llama2c
from .models import Parameters

_CHECKPOINT = re.compile(r"step-(\d{8})")


def load_model(path: str | os.PathLike[str]) -> tuple[TransformerConfig, Parameters]:
    """A model with rotary positions. Raises ArgumentError or CheckpointError."""
    path = Path(path)
    if not path.is_dir():
        return load_llama2c(path)
    one = _CHECKPOINT.fullmatch(path.name)
    record, parts = Checkpoints(path.parent).load(int(one[1])) if one else Checkpoints(path).load()
    if record.config.as_published:
        raise ArgumentError(f"{path} was trained as published, without positions: only its run can go on")
    return record.config.model, parts["parameters"]
