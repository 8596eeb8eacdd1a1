"""Hugging Face folders that are refused: each by name, in one line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.errors import ArgumentError
from aneperf.training.checkpoint import load_model
from aneperf.training.safetensors_file import Safetensors
from support import hugging_face as hf


def changed(**settings: Any) -> Callable[[Path], None]:
    """Return what changes the config of a folder; None for a setting removes it."""

    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | settings
        kept = {name: value for name, value in config.items() if value is not ...}
        (folder / "config.json").write_text(json.dumps(kept))

    return change


def with_tensors(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return what changes the tensors of a folder."""

    def write(folder: Path) -> None:
        arrays: dict[str, Any] = hf.tensors(hf.QWEN3)
        change(arrays)
        (folder / "model.safetensors").write_bytes(hf.safetensors(arrays))

    return write


def with_entry(name: str, **values: Any) -> Callable[[Path], None]:
    """Return what changes the entry of a tensor in the header."""

    def change(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        header[name] |= values
        (folder / "model.safetensors").write_bytes(hf.with_header(header, content[end:]))

    return change


def with_content(content: bytes, name: str = "model.safetensors") -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def with_index(change: Callable[[dict[str, str], Path], object]) -> Callable[[Path], None]:
    """Return what makes shards, and changes the map of an index, or the shards."""

    def write(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        hf.write(folder, hf.QWEN3, hf.tensors(hf.QWEN3), shards=2)
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        change(index["weight_map"], folder)
        path.write_text(json.dumps(index))

    return write


EMBEDDING, WQ = "model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight"
BIAS = "model.layers.0.self_attn.q_proj.bias"
SHARD = "model-00002-of-00002.safetensors"


def placed(place: str) -> Callable[[Path], None]:
    """Return what lets an index place a tensor in another file."""
    return with_index(lambda places, folder: places.update({WQ: place}))


def value(number: float) -> Callable[[Path], None]:
    return with_tensors(lambda arrays: arrays[WQ].__setitem__((0, 0), number))


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another architecture": (
        changed(architectures=["MistralForCausalLM"]),
        "architecture 'MistralForCausalLM'",
    ),
    "no architecture": (
        changed(architectures=[]),
        "is of the architecture '': LlamaForCausalLM and Qwen3For",
    ),
    "two architectures": (changed(architectures=["Qwen3ForCausalLM"] * 2), "is of the architecture"),
    "another model type": (changed(model_type="qwen3_moe"), "model_type 'qwen3_moe'"),
    "rope scaling": (changed(rope_scaling={"rope_type": "llama3"}), "rope_scaling.rope_type = 'llama3'"),
    "rope parameters": (
        changed(rope_parameters={"rope_type": "yarn", "rope_theta": 1e6}),
        "rope_parameters.rope_type = 'yarn', which is not supported",
    ),
    "attention bias": (changed(attention_bias=True), "attention_bias = True"),
    "a bias of the feed-forward": (changed(mlp_bias=True), "mlp_bias = True"),
    "a sliding window": (changed(use_sliding_window=True), "use_sliding_window = True"),
    "a sliding layer": (changed(layer_types=["full_attention", "sliding_attention"]), "'sliding_attention'"),
    "another activation": (changed(hidden_act="gelu"), "hidden_act = 'gelu', which is not supported"),
    "quantized": (
        changed(quantization_config={"quant_method": "gptq"}),
        "quantization_config = {'quant_method'",
    ),
    "no size": (changed(hidden_size=...), "missing required field `hidden_size`"),
    "a size that is text": (changed(hidden_size="32"), "Expected `int`, got `str`"),
    "no head_dim": (changed(head_dim=None), "lacks num_key_value_heads or head_dim"),
    "a huge size": (changed(num_hidden_layers=10**9), "layers must be an integer from 1 to 1024"),
    "more than the memory": (
        changed(vocab_size=1 << 20, hidden_size=1 << 16, num_hidden_layers=1 << 10),
        "takes .* MiB, and .* MiB are free",
    ),
    "a theta that is text": (
        changed(rope_theta=None, rope_parameters={"rope_theta": "9"}),
        "rope_theta must be",
    ),
    "a theta that is a list": (
        changed(rope_scaling={"rope_theta": 1e4}, rope_parameters={"rope_theta": [1e4] * 9999}),
        "rope_theta must be a number",
    ),
    "many ends": (changed(eos_token_id=[1] * 65), "eos_token_id has 65 tokens: 64 are taken"),
    "a token that is none": (changed(pad_token_id=-2), "pad_token_id must be an integer from -1 to"),
    "a type's long name": (changed(torch_dtype="f" * 33), "torch_dtype must be the name of a type"),
    "many kinds of layers": (
        changed(layer_types=["full_attention"] * 1025),
        "has more than 1024 layer_types",
    ),
    "endless sequences": (
        changed(max_position_embeddings=10**30),
        "max_position_embeddings must be an integer from 1 to",
    ),
    "a key twice": (with_content(b'{"a": 1, "a": 1}', "config.json"), "config.json: a key stands twice"),
    "deep JSON": (with_content(b"[" * 100_000, "config.json"), "config.json: "),
    "huge JSON": (
        with_content(b"{" + b" " * (1 << 20), "config.json"),
        "config.json: cannot read: it has 1048577",
    ),
    "a missing tensor": (with_tensors(lambda arrays: arrays.pop(WQ)), f"the tensor {WQ} is missing"),
    "a classifier missing": (changed(tie_word_embeddings=False), "the tensor lm_head.weight is missing"),
    "another classifier": (
        with_tensors(lambda arrays: arrays.update({"lm_head.weight": 2 * arrays[EMBEDDING]})),
        "lm_head.weight is another matrix than the embedding",
    ),
    "an extra tensor": (
        with_tensors(lambda arrays: arrays.update({BIAS: np.ones(3, np.float32)})),
        f"the tensor '{BIAS}' is none of the model",
    ),
    "another shape": (
        with_tensors(lambda arrays: arrays.update({WQ: arrays[WQ].T.copy()})),
        r"is \[32, 64\], not \[64, 32\]",
    ),
    "another dtype": (
        with_tensors(lambda arrays: arrays.update({WQ: arrays[WQ].astype(float)})),
        "is F64, not F32",
    ),
    "no number": (value(np.nan), f"{WQ} has 1 value that is not finite"),
    "infinity": (value(np.inf), f"{WQ} has 1 value that is not finite"),
    "no model": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "has no model.safetensors or model.safet",
    ),
    "a pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "has pytorch_model.bin, which may hold code and is not read, but no model.safetensors",
    ),
    "an empty file": (with_content(b""), "is empty, not a safetensors file"),
    "a Git LFS pointer": (with_content(b"version https://git-lfs.github.com/spec/v1\noid x"), "git lfs pull"),
    "a header that is too long": (
        with_content((1 << 62).to_bytes(8, "little") + bytes(80)),
        "header takes 4611686",
    ),
    "a header that is no JSON": (with_content((9).to_bytes(8, "little") + b"{nothing}"), "is damaged: "),
    "a gap": (with_entry(EMBEDDING, data_offsets=[4, 4 + 40 * 32 * 4]), "and 0 would be next"),
    "offsets beyond the file": (with_entry(WQ, data_offsets=[1 << 40, 1 << 41]), "would be next"),
    "offsets below 0": (with_entry(WQ, data_offsets=[-1, 5]), "is damaged: Expected `int` >= 0"),
    "another size than the shape": (
        with_entry(WQ, shape=[1 << 40, 1 << 40]),
        "'model.layers.1.self_attn.q_proj.we",
    ),
    "a shape of many axes": (with_entry(WQ, shape=[1] * 9), "is damaged: Expected `array` of length <= 8"),
    "more data": (
        lambda folder: with_content((folder / "model.safetensors").read_bytes() + b"\0")(folder),
        "its tensors take .* bytes, and it has",
    ),
    "a missing shard": (
        with_index(lambda places, folder: (folder / SHARD).unlink()),
        f"{SHARD}: cannot read: No such file",
    ),
    "a tensor in another shard": (
        with_index(lambda places, folder: places.update({EMBEDDING: SHARD})),
        "'model.embed_tokens.weight' is not where model.safetensors.index.json places it",
    ),
    "a shard above": (
        placed(f"../{SHARD}"),
        "index.json: '../model-.*' is not the plain name of a file",
    ),
    "the folder above": (placed(".."), r"'\.\.' leads out of the"),
    "an absolute path": (placed("/etc/passwd"), "not the plain name"),
    "a name with a NUL": (placed("a\0"), "not the plain name"),
    "a long name": (placed("a" * 1000), "'aaa.* is not the plain name"),
    "no name": (placed(""), "'' leads out of the folder"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_folder_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    folder = hf.write(tmp_path / "model", hf.QWEN3, hf.tensors(hf.QWEN3))
    change, message = BAD[kind]
    change(folder)
    with pytest.raises(ArgumentError, match=message) as error:
        load_model(folder)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 700


def test_parts_of_a_folder_are_no_model(tmp_path: Path) -> None:
    folder = hf.write(tmp_path / "model", hf.LLAMA, hf.tensors(hf.LLAMA))
    with pytest.raises(ArgumentError, match=r"is a part of a model: give the folder, with its config.json"):
        load_model(folder / "model.safetensors")
    (folder / "config.json").unlink()
    with pytest.raises(aneperf.AneError, match=r"model has neither a config.json nor a checkpoint"):
        load_model(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = hf.write(tmp_path / "model", hf.LLAMA, hf.tensors(hf.LLAMA))
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(ArgumentError, match=f"'{name}' leads out of the folder"):
        load_model(folder)
    (folder / name).unlink()
    (folder / name).symlink_to(name)
    with pytest.raises(aneperf.AneError):
        load_model(folder)


def test_a_folder_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hf.write(tmp_path / "model", hf.LLAMA, hf.tensors(hf.LLAMA))
    os.utime(folder / "model.safetensors", ns=(0, 0))
    read = Safetensors.read

    def changing(self: Safetensors, name: str) -> Any:
        values = read(self, name)
        with self.path.open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x3f")
        return values

    monkeypatch.setattr(Safetensors, "read", changing)
    with pytest.raises(ArgumentError, match=r"model\.safetensors: was changed while it was in use"):
        load_model(folder)
