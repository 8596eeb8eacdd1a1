"""Models: presets, parameters and files of llama2.c, whole, damaged and hostile."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aneperf
from aneperf import bounds
from aneperf.bounds import CONSTANTS, FP16_LARGEST, MODEL
from aneperf.kernels import TransformerConfig
from aneperf.kernels.config import parameter_count, parameter_shapes
from aneperf.kernels.presets import PRESETS
from aneperf.training.llama2c import load_llama2c, save_llama2c
from aneperf.training.models import (
    Parameters,
    check_parameters,
    checked_parameters,
    random_parameters,
)
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
        "qwen3-0.6b": 596.05,
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
    with pytest.raises(aneperf.ArgumentError, match=r"seed must be an integer from 0 to .*, not -1"):
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
        (b"", "is empty, not a llama2.c model"),
        (b"abc", "is no llama2.c model: it has 3 bytes"),
        (HEADER.pack(16, 24, 2, 4, 2, 20, 8), r"has 28 bytes; a llama2\.c model of .* takes \d+"),
        (HEADER.pack(16, 24, 2, 3, 2, 20, 8), "its header reads"),
        (HEADER.pack(16, 24, 2, 4, 3, 20, 8), "3 kv_heads do not divide"),
        (HEADER.pack(16, 24, 0, 4, 2, 20, 8), "its header reads"),
        (HEADER.pack(-16, 24, 2, 4, 2, 20, 8), "its header reads"),
        (HEADER.pack(16, 24, 2, 4, 2, 20, -8), "its header reads"),
        (HEADER.pack(2**30, 24, 2, 4, 2, 20, 8), "its header reads"),
        (HEADER.pack(2**16, 2**18, 2**10, 4, 2, -(2**20), 2**20) + bytes(400), "has 428 bytes; a llama2"),
        (HEADER.pack(2, 2, 2**18, 1, 1, 2, 2), "layers must be an integer from 1 to 1024, not 262144"),
        (HEADER.pack(16, 24, 2, 4, 2, -(2**31), 8), "vocab must be an integer from 1 to 1048576"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(content)
    with pytest.raises(aneperf.ArgumentError, match=message):
        load_llama2c(file)


def version_1(config: TransformerConfig, parameters: Parameters, version: int = 1, shared: int = 1) -> bytes:
    """Return the file that `version1_export` of llama2.c writes."""
    sizes = (
        config.dim,
        config.hidden,
        config.layers,
        config.heads,
        config.kv_heads,
        config.vocab,
        config.seq,
    )
    header = struct.pack("<I8iB", 0x616B3432, version, *sizes, shared)
    order = [f"layers.{n}.{kind}" for kind in ("rms1", "rms2") for n in range(config.layers)]
    order += ["norm", "embedding"]
    kinds = ("wq", "wk", "wv", "wo", "w1", "w2", "w3")
    order += [f"layers.{n}.{kind}" for kind in kinds for n in range(config.layers)]
    order += [] if shared else ["classifier"]
    return header.ljust(256, b"\0") + b"".join(parameters[name].astype("<f4").tobytes() for name in order)


@pytest.mark.parametrize("shared", [0, 1])
def test_export_version_1_is_read(tmp_path: Path, shared: int) -> None:
    parameters = random_parameters(SMALL, seed=1)
    if not shared:
        parameters["classifier"] = random_parameters(SMALL, seed=2)["embedding"]
    (tmp_path / "v1.bin").write_bytes(version_1(SMALL, parameters, shared=shared))
    config, loaded = load_llama2c(tmp_path / "v1.bin")
    assert config == SMALL
    assert list(loaded) == list(parameter_shapes(SMALL, not shared))
    for name, value in parameters.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_other_export_versions_are_named(tmp_path: Path) -> None:
    content = version_1(SMALL, random_parameters(SMALL))
    for change, message in (
        (
            content[:4] + struct.pack("<i", 2) + content[8:],
            "is a llama2.c model of version 2, whose weights are int8",
        ),
        (
            content[:4] + struct.pack("<i", 7) + content[8:],
            r"of version 7: export it with --version 1 \(or 0\)",
        ),
        (content[:36] + b"\x02" + content[37:], "its flag of a shared classifier is 2"),
        (content[:36] + b"\x00" + content[37:], r"has \d+ bytes; a llama2.c model of .* takes"),
        (content[:100], "it ends within its header"),
        (content[:-1], r"has \d+ bytes; a llama2.c model of .* takes"),
        (content[:8] + struct.pack("<i", 0) + content[12:], "dim must be an integer from 1 to 65536, not 0"),
        (content[:20] + struct.pack("<i", 0) + content[24:], "0 heads do not divide 16 channels"),
    ):
        (tmp_path / "v.bin").write_bytes(change)
        with pytest.raises(aneperf.ArgumentError, match=message):
            load_llama2c(tmp_path / "v.bin")


@pytest.mark.parametrize("name", ["rope_theta", "norm_eps"])
def test_saving_refuses_constants_that_the_format_lacks(tmp_path: Path, name: str) -> None:
    config = replace(SMALL, **{name: 1e-4 if name == "norm_eps" else 1e6})
    with pytest.raises(aneperf.ArgumentError, match=rf"llama2.c has a {name} of .*: its file cannot hold"):
        save_llama2c(tmp_path / "model.bin", config, random_parameters(config))
    config = replace(SMALL, qk_norm=True)
    with pytest.raises(aneperf.ArgumentError, match="its file cannot hold q_norm and k_norm"):
        save_llama2c(tmp_path / "model.bin", config, random_parameters(config))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "largest", "message"),
    [
        ([np.nan], np.inf, "layers.1.wq has 1 value that is not finite"),
        ([np.inf, -np.inf, np.nan], np.inf, "layers.1.wq has 3 values that are not finite"),
        ([-np.inf], FP16_LARGEST, "layers.1.wq has 1 value that is not finite"),
        ([70000, -1e30], FP16_LARGEST, r"layers.1.wq has 2 values that are beyond 65504, .* is 1e\+30"),
    ],
)
def test_values_that_nothing_computes_with_are_named(
    values: list[float], largest: float, message: str
) -> None:
    parameters = random_parameters(SMALL)
    assert dict(checked_parameters(SMALL, parameters, largest)).keys() == parameters.keys()
    parameters["layers.1.wq"].flat[: len(values)] = values
    with pytest.raises(aneperf.ArgumentError, match=message):
        list(checked_parameters(SMALL, parameters, largest))


@pytest.mark.parametrize("field", MODEL)
def test_every_size_of_a_model_is_bounded(field: str) -> None:
    for value in (MODEL[field] + 1, 10**50, 0, -1, True, 2.0):
        with pytest.raises(
            aneperf.ArgumentError, match=f"{field} must be an integer from 1 to {MODEL[field]}, not "
        ):
            replace(SMALL, **{field: value})
    for name, (least, most) in CONSTANTS.items():
        for value in (5e-324, 1e308, np.nan, np.inf, 10**400, -1.0, True, "1"):
            with pytest.raises(aneperf.ArgumentError, match=f"{name} must be a number from"):
                replace(SMALL, **{name: value})
        assert getattr(replace(SMALL, **{name: most}), name) == most > least


def test_the_memory_of_a_model_is_asked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    large = replace(SMALL, dim=1 << 16, hidden=1 << 18, layers=1 << 10, heads=4, head_dim=1 << 14)
    assert parameter_count(large) >> 45 == 1
    with pytest.raises(aneperf.ArgumentError, match=r"of these sizes takes \d+ MiB, and \d+ MiB are free"):
        random_parameters(large)
    monkeypatch.setattr(bounds, "available_memory", lambda: 4 * parameter_count(SMALL))
    random_parameters(SMALL)
    monkeypatch.setattr(bounds, "available_memory", lambda: 4 * parameter_count(SMALL) - 1)
    with pytest.raises(aneperf.ArgumentError, match="choose smaller ones"):
        random_parameters(SMALL)


@pytest.mark.parametrize("separate", [False, True])
def test_the_count_of_parameters(separate: bool) -> None:
    shapes = parameter_shapes(SMALL, separate)
    assert parameter_count(SMALL, separate) == sum(int(np.prod(shape)) for shape in shapes.values())


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
