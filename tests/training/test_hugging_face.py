"""Hugging Face folders: read, trained, saved."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import aneperf
from aneperf.errors import ArgumentError, ResultFileError
from aneperf.kernels.presets import PRESETS
from aneperf.training.checkpoint import load_model
from aneperf.training.generate import Decoder
from aneperf.training.hugging_face import check_savable, save_hugging_face
from support import hugging_face as hf

TOKENIZER = b'{"version": "1.0", "added_tokens": [], "model": {"type": "BPE"}}'
TRAINING: dict[str, Any] = {"device": "emulator", "steps": 1, "accumulation": 1}


@pytest.mark.parametrize("config", [hf.LLAMA, hf.QWEN3], ids=["llama", "qwen3"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_a_folder_has_the_logits_of_its_definition(tmp_path: Path, config: Any, dtype: str) -> None:
    arrays: dict[str, Any] = hf.tensors(config)
    if dtype == "fp16":
        arrays = {name: value.astype(np.float16) for name, value in arrays.items()}
    stored = {name: hf.to_bf16(value) for name, value in arrays.items()} if dtype == "bf16" else arrays
    if dtype == "bf16":  # what was stored, exactly
        arrays = {name: (value.astype(np.uint32) << 16).view(np.float32) for name, value in stored.items()}
    hf.write(tmp_path, config, stored, shards=1 if dtype == "fp16" else 3)
    model, parameters = load_model(tmp_path)
    assert (model.seq, model.qk_norm) == (24, config is hf.QWEN3)
    tokens = np.random.default_rng(1).integers(0, model.vocab, 20)
    decoder = Decoder(model, parameters)
    got = np.array([decoder.read(int(token)) for token in tokens])
    expected = hf.logits(config, arrays, tokens)
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("config", [hf.LLAMA, hf.QWEN3], ids=["llama", "qwen3"])
def test_a_saved_folder_has_the_same_tensors(tmp_path: Path, config: Any) -> None:
    arrays = hf.tensors(config)
    model, parameters = load_model(hf.write(tmp_path / "in", config, arrays))
    save_hugging_face(tmp_path / "out", model, parameters)
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert saved.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(saved[name], value)
    assert load_model(tmp_path / "out")[0] == model
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert len(modes) == 1


def test_other_spellings_of_the_same_model(tmp_path: Path) -> None:
    """Read rope_parameters of transformers 5, a copy of a tied classifier, and tables of old exports."""
    config = {**hf.QWEN3, "rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
    arrays: dict[str, Any] = hf.tensors(hf.QWEN3)
    hf.write(tmp_path / "one", hf.QWEN3, arrays)
    arrays["lm_head.weight"] = arrays["model.embed_tokens.weight"]
    arrays["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    hf.write(tmp_path / "other", config, arrays)
    one, other = load_model(tmp_path / "one"), load_model(tmp_path / "other")
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()


def test_a_link_into_the_cache_of_hugging_face_is_followed(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "0123abcd", tmp_path / "blobs"
    blobs.mkdir()
    snapshot.parent.mkdir()
    hf.write(snapshot, hf.LLAMA, hf.tensors(hf.LLAMA))
    for file in list(snapshot.iterdir()):
        shutil.move(file, blobs / file.name)
        file.symlink_to(Path("..", "..", "blobs", file.name))
    assert load_model(snapshot)[0].vocab == 40


@pytest.mark.parametrize("number", [np.nan, 70000.0])
def test_values_that_fp16_cannot_hold_end_a_run_before_it_begins(tmp_path: Path, number: float) -> None:
    folder = hf.write(tmp_path / "model", hf.QWEN3, hf.tensors(hf.QWEN3))
    arrays = hf.tensors(hf.QWEN3)
    arrays["model.layers.1.self_attn.q_proj.weight"][0, 0] = number
    (folder / "model.safetensors").write_bytes(hf.safetensors(arrays))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        ArgumentError, match=r"q_proj.weight has 1 value|layers.1.wq has 1 value that is beyond"
    ):
        aneperf.train(
            weights=folder,
            telemetry=tmp_path / "t",
            output=tmp_path / "o",
            checkpoints=tmp_path / "c",
            **TRAINING,
        )
    assert sorted(tmp_path.rglob("*")) == before


def test_constants_of_a_folder_are_not_replaced(tmp_path: Path) -> None:
    folder = hf.write(tmp_path / "model", hf.QWEN3, hf.tensors(hf.QWEN3))
    model, _ = load_model(folder)
    with pytest.raises(ArgumentError, match=r"has another model, dim32-.*-qknorm-"):
        aneperf.train(PRESETS["stories260k"], weights=folder, **TRAINING)
    other = model.__class__(**{**vars(model), "rope_theta": 5e5})
    with pytest.raises(ArgumentError, match="has another model"):
        aneperf.train(other, weights=folder, **TRAINING)


def test_a_run_from_a_folder_to_a_folder(tmp_path: Path) -> None:
    """Train a model, and keep its tokenizer, special tokens and longest sequence."""
    config = {**hf.QWEN3, "max_position_embeddings": 1024}
    folder = hf.write(tmp_path / "in", config, hf.tensors(config))
    (folder / "tokenizer.json").write_bytes(TOKENIZER)
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 3]}')
    result = aneperf.train(weights=folder, **TRAINING)
    assert result.config.model.seq == 256
    shutil.rmtree(folder)  # training may take longer than a folder lasts
    result.save_hugging_face(tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == TOKENIZER
    saved = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (saved["eos_token_id"], saved["max_position_embeddings"]) == ([7, 3], 1024)
    assert "bos_token_id" not in saved
    _, parameters = load_model(tmp_path / "out")
    for name, trained in result.parameters.items():
        np.testing.assert_array_equal(parameters[name], trained)
    with pytest.raises(ResultFileError, match="out: is there and is no empty folder"):
        result.save_hugging_face(tmp_path / "out")


def test_what_transformers_cannot_compute_is_not_saved() -> None:
    config = aneperf.training.config.TrainingConfig(PRESETS["stories260k"], as_published=True)
    with pytest.raises(ArgumentError, match="trained as published"):
        check_savable(config)
    odd = aneperf.kernels.TransformerConfig(
        dim=10, hidden=8, layers=1, heads=4, kv_heads=1, head_dim=4, vocab=9, seq=8
    )
    with pytest.raises(ArgumentError, match="LlamaForCausalLM needs a dim that is a multiple of heads"):
        check_savable(aneperf.training.config.TrainingConfig(odd))
