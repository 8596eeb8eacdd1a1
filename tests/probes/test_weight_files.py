"""Programs of the package keep their weights in one file: macOS 27 refuses several."""

import struct
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import mil
from aneperf.kernels import ConvStack, QuantizedStack, TransformerConfig
from aneperf.mil.weights import WEIGHT_FILE
from aneperf.runner.operations import CASES
from aneperf.training.models import random_parameters
from aneperf.training.pipeline import StaticAnePipeline, StaticPipeline
from support.wrapped import Wrapped

compat, limits, parity = (
    __import__(f"aneperf.probes.{name}", fromlist=["_"]) for name in ("compat", "limits", "parity")
)
# Norms of eight channels are short enough to stand in the text.
MODEL = TransformerConfig(dim=8, hidden=24, layers=1, heads=2, kv_heads=1, head_dim=4, vocab=30, seq=8)


class Recorder(Wrapped):
    """Keeps the text and the weights of every compile."""

    def __init__(self) -> None:
        super().__init__()
        self.compiled: list[tuple[str, dict[str, bytes]]] = []

    def compile(self, text: str, weights: Any, **options: Any) -> Any:
        self.compiled.append((text, weights))
        return super().compile(text, weights, **options)


def probes(device: Any) -> None:
    aneperf.weights(device)
    aneperf.counters(device)
    limits.count_programs(device, where="memory", keep=False, most=2, budget=60.0, progress=lambda step: None)


def pipelines(device: Any) -> None:
    parameters = random_parameters(MODEL, seed=0)
    for pipeline in (StaticPipeline, StaticAnePipeline):
        loaded = pipeline(device, MODEL, parameters)
        assert loaded.load_fixed() + loaded.load() == len(loaded._kernels)
        loaded.load()


def questions(device: Any) -> None:
    several = ("weights/a file each", "weights/a file each, as they are", "weights/published header")
    for name, ask in (compat.ITEMS | parity.FAMILIES).items():
        if not name.startswith("op/") and name not in several:
            device.compiled.append(((question := ask()).text, question.weights))


def builds(device: Any) -> None:
    for case in (*CASES.values(), ConvStack(32, 3), QuantizedStack(32, 3)):
        device.compiled.append(((program := case.build()).text, program.weights))


@pytest.mark.parametrize("compile_all", [probes, pipelines, questions, builds])
def test_every_program_has_one_file_at_most(compile_all: Any) -> None:
    device = Recorder()
    compile_all(device)
    assert len(device.compiled) > 5
    stored = 0
    for text, weights in device.compiled:
        if not weights:
            assert "BLOBFILE" not in text
            continue
        ((path, data),) = weights.items()
        assert path == WEIGHT_FILE == "@model_path/weights/weight.bin"
        found = sorted((blob.offset, tensor.type.bytes) for tensor, blob in mil.parse(text).blobs.items())
        assert struct.unpack_from("<II", data) == (len(found), 2)
        end = 64
        for offset, size in found:
            assert offset == -(-end // 64) * 64
            assert struct.unpack_from("<I4xQQ", data, offset) == (0xDEADBEEF, size, offset + 64)
            end = offset + 64 + size
        assert len(data) == -(-end // 64) * 64
        stored += len(found)
    assert stored > len(device.compiled) // 4


def test_baked_weights_are_where_the_text_says() -> None:
    device = Recorder()
    parameters = random_parameters(MODEL, seed=0)
    parameters["layers.0.rms1"] += np.arange(8, dtype=np.float32)
    StaticPipeline(device, MODEL, parameters).load()  # type: ignore[arg-type]
    text, weights = next((t, w) for t, w in device.compiled if " rms1 " in t)
    graph = mil.parse(text, weights)
    found = {tensor.name: tensor.constant for tensor in graph.blobs}
    for name in ("rms1", "wq", "wo"):
        expected = parameters[f"layers.0.{name}"].astype(np.float16)
        np.testing.assert_array_equal(np.asarray(found[name]).reshape(expected.shape), expected)
