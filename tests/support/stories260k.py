"""The model stories260K of llama2.c and figures that PyTorch computed from it, where they are at hand."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from aneperf.kernels import TransformerConfig
from aneperf.training.llama2c import load_llama2c
from aneperf.training.models import Parameters


def model_file() -> Path:
    folder = os.environ.get("ANEPERF_STORIES260K")
    if not folder:
        pytest.skip("ANEPERF_STORIES260K names no folder with stories260K.bin and stories260K_reference.json")
    return Path(folder) / "stories260K.bin"


def model() -> tuple[TransformerConfig, Parameters]:
    return load_llama2c(model_file())


def reference() -> dict[str, Any]:
    return dict(json.loads(model_file().with_name("stories260K_reference.json").read_text()))
