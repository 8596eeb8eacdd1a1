"""Models: presets, parameters and files of llama2.c, whole, damaged and hostile."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.kernels.config import parameter_shapes
from aneperf.training.llama2c import load_llama2c, save_llama2c
from aneperf.training.models import PRESETS, check_parameters, random_parameters
from support import stories260k

SMALL = TransformerConfig(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, head_dim=4, vocab=20, seq=8)


def count(config: TransformerConfig) -> int:
    return sum(int(np.prod(shape)) for shape in parameter_shapes(config).values())


def test_presets_have_their_names_numbers_of_parameters() -> None:
    assert {name: round(count(config) / 1e6, 2) for name, config in PRESETS.items()} == {
        "stories260k": 0.26,
        "stories15m": 15.19,
        "stories42m": 41.69,
        "stories110m": 109.53,
    }


def test_random_parameters() -> None:
    parameters = random_parameters(SMALL, seed=1)
    check_parameters(SMALL, parameters)
    assert (parameters["norm"] == 1).all()
    assert 0.019 < np.abs(parameters["embedding"]).max() <= 0.02
    assert 0.9 / 8 < np.abs(parameters["layers.0.wo"]).max() <= 1 / 8
    other = random_parameters(SMALL, seed=2)
    assert (other["layers.0.wq"] != parameters["layers.0.wq"]).all()
    assert (parameters["layers.0.wq"] != parameters["layers.1.wq"]).all()
    with pytest.raises(aneperf.ArgumentError, match="seed must be an integer of at least 0, not -1"):
        random_parameters(SMALL, seed=-1)


@pytest.mark.parametrize("separate", [False, True])
def test_llama2c_round_trip(tmp_path: Path, separate: bool) -> None:
    parameters = random_parameters(SMALL, seed=1)
    if separate:
        parameters["classifier"] = random_parameters(SMALL, seed=2)["embedding"]
    file = tmp_path / "model.bin"
    save_llama2c(file, SMALL, parameters)
    config, loaded = load_llama2c(file)
    assert config == SMALL
    assert list(loaded) == list(parameter_shapes(SMALL, separate))
    for name, value in parameters.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_a_real_file_is_written_back_byte_for_byte(tmp_path: Path) -> None:
    file = stories260k.model_file()
    save_llama2c(tmp_path / "copy.bin", *load_llama2c(file))
    original, copy = (np.fromfile(path, "<f4", offset=28) for path in (file, tmp_path / "copy.bin"))
    np.testing.assert_allclose(copy, original, atol=1e-5)  # the rotary tables are recomputed
    assert (copy == original).mean() > 0.98


HEADER = struct.Struct("<7i")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"abc", "is no llama2.c model: it has 3 bytes"),
        (HEADER.pack(16, 24, 2, 4, 2, 20, 8), r"has 28 bytes; a model of .* takes \d+"),
        (HEADER.pack(16, 24, 2, 3, 2, 20, 8), "its header reads"),
        (HEADER.pack(16, 24, 2, 4, 3, 20, 8), "3 kv_heads do not divide"),
        (HEADER.pack(16, 24, 0, 4, 2, 20, 8), "its header reads"),
        (HEADER.pack(-16, 24, 2, 4, 2, 20, 8), "its header reads"),
        (HEADER.pack(16, 24, 2, 4, 2, 20, -8), "its header reads"),
        (HEADER.pack(2**30, 24, 2, 4, 2, 20, 8), "its header reads"),
        (HEADER.pack(2**20, 2**20, 2**20, 4, 2, -(2**20), 2**20) + bytes(400), r"has 428 bytes; a model"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(content)
    with pytest.raises(aneperf.ArgumentError, match=message):
        load_llama2c(file)


def test_saving_what_has_no_place_in_the_format(tmp_path: Path) -> None:
    config = replace(SMALL, head_dim=6)
    with pytest.raises(aneperf.ArgumentError, match="4 of 6 are not 16"):
        save_llama2c(tmp_path / "model.bin", config, random_parameters(config))
    parameters = random_parameters(SMALL)
    del parameters["norm"]
    with pytest.raises(aneperf.ArgumentError, match="parameter 'norm' is missing"):
        save_llama2c(tmp_path / "model.bin", SMALL, parameters)
    with pytest.raises(aneperf.ArgumentError, match="'extra' is not one of"):
        check_parameters(SMALL, random_parameters(SMALL) | {"extra": np.zeros(1, np.float32)})
    with pytest.raises(aneperf.ArgumentError, match=r"'norm' is float64\[16\], not float32\[16\]"):
        check_parameters(SMALL, random_parameters(SMALL) | {"norm": np.zeros(16)})
    assert list(tmp_path.iterdir()) == []
