"""Adapters in folders that PEFT loads: adapter_config.json and adapter_model.safetensors.

Source of names and settings: github.com/huggingface/peft.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from ..errors import ArgumentError
from ..outputs import whole_folder
from .config import TrainingConfig
from .hugging_face import check_savable, hugging_face_name, regrouped
from .kernels import Floats
from .lora import TARGETS
from .safetensors_file import write_safetensors

_CONFIG, _MODEL = "adapter_config.json", "adapter_model.safetensors"


def check_adapters(config: TrainingConfig) -> None:
    """Raise ArgumentError unless PEFT can compute what a run trains."""
    if config.lora is None:
        raise ArgumentError("without lora_rank (--lora-rank) there are no adapters to save")
    check_savable(config)


def save_adapters(
    folder: str | os.PathLike[str],
    config: TrainingConfig,
    adapters: Mapping[str, Floats],
    base: str | None = None,
) -> None:
    """Write a new folder, in fp32, that names `base`, the folder of the frozen weights.

    Raises ResultFileError.
    """
    lora = config.lora
    assert lora is not None
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": int(lora.alpha) if lora.alpha.is_integer() else lora.alpha,
        "target_modules": [_module(TARGETS[target]).rpartition(".")[2] for target in lora.targets],
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    with whole_folder(folder) as temporary:
        path = temporary / _CONFIG
        path.write_bytes(msgspec.json.format(msgspec.json.encode(described), indent=2) + b"\n")
        tensors = {}
        for name, value in adapters.items():
            matrix, _, factor = name.rpartition(".")
            # The rows of B are those of the matrix.
            stored = regrouped(value, matrix, config.model, halves=True) if factor == "lora_B" else value
            tensors[f"base_model.model.{_module(matrix)}.{factor}.weight"] = stored
        write_safetensors(temporary / _MODEL, tensors, like=path)


def _module(matrix: str) -> str:
    return hugging_face_name(matrix).removesuffix(".weight")
