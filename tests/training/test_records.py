"""The record of a checkpoint: every change of it is refused, and so are numbers that no run can have."""

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aneperf.kernels import TransformerConfig
from aneperf.training import record as records
from aneperf.training.checkpoint import Checkpoints, load_model
from aneperf.training.config import TrainingConfig
from aneperf.training.hugging_face import Origin
from aneperf.training.hugging_face_config import HuggingFaceConfig
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.record import CheckpointError, Record
from aneperf.training.state import RunState
from aneperf.training.vocabulary import Vocabulary, vocabulary_of_json
from support.training_runs import KEPT, described

MODEL = TransformerConfig(dim=8, hidden=8, layers=1, heads=2, kv_heads=1, head_dim=4, vocab=8, seq=4)
CONFIG = TrainingConfig(MODEL, steps=40, accumulation=4)
ORIGIN = Origin(HuggingFaceConfig.of(MODEL, tied=True), b'{"added_tokens": []}')
RUN = described(CONFIG, ORIGIN)


def saved(folder: Path, step: int = 8) -> Path:
    values = random_parameters(MODEL)
    zeros: Parameters = {name: np.zeros_like(value) for name, value in values.items()}
    parts = {"parameters": values, "mean": zeros, "variance": zeros}
    return Checkpoints(folder).save(RUN, RunState(64.0, step, 2), parts, 1.5)


def refused(folder: Path, message: str) -> None:
    """Check that neither a run nor a reader takes the only checkpoint of a folder."""
    with pytest.raises(CheckpointError, match=message) as error:
        Checkpoints(folder).open()
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


def test_every_flipped_bit_is_refused(tmp_path: Path, thorough: bool) -> None:
    path = saved(tmp_path) / "checkpoint.json"
    text = path.read_bytes()
    for bit in range(0, 8 * len(text), 1 if thorough else 9):
        changed = bytearray(text)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(CheckpointError):
            Record.load(path, 8)
    path.write_bytes(text)
    assert Record.load(path, 8).step == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-1], "its checksum is not that of its text"),
        (lambda text: text + b" ", "its checksum is not that of its text"),
        (lambda text: text.replace(b"  ", b" "), "its checksum is not that of its text"),
        (lambda text: text.replace(b'"applied_updates": 2', b'"applied_updates": 0'), "its checksum is not"),
        (
            lambda text: text.replace(b'"format": 4', b'"format": 0'),
            "is of format 0",
        ),
        (
            lambda text: text.replace(b'"format": 4', b'"format": 3'),
            "is of format 3",
        ),
        (
            lambda text: text.replace(b'"format": 4', b'"format": 5'),
            "is of format 5",
        ),
        (lambda text: b"", "is empty"),
        (lambda text: b" " * 2_000_000, "cannot read: it has 2000000 bytes"),
        (lambda text: b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    ],
)
def test_a_changed_record_is_refused(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    path = saved(tmp_path) / "checkpoint.json"
    path.write_bytes(change(path.read_bytes()))
    refused(tmp_path, message)


def forge(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a record and give it the right checksum."""
    text = change(path.read_bytes().partition(b',\n  "checksum"')[0])
    checksum = records._checksum(text)
    path.write_bytes(text + b',\n  "checksum": "' + checksum + b'"\n}\n')


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"step": 8', '"step": 12', "is of step 12, in the folder of step 8"),
        ('"step": 8', '"step": -4', "step must be an integer from 1 to 40, not -4"),
        ('"step": 8', '"step": 41', "step must be an integer from 1 to 40, not 41"),
        ('"step": 8', '"step": 8.5', "Expected `int`, got `float`"),
        ('"step": 8', '"step": 8, "step": 8', "a key stands twice"),
        ('"dim": 8', '"dim": 8, "dim": 8', "a key stands twice"),
        ('"applied_updates": 2', '"applied_updates": 3', "applied_updates must be an integer from 0 to 2"),
        ('"applied_updates": 2', f'"applied_updates": {10**24}', "applied_updates must be|Expected `int`"),
        ('"loss_scale": 64.0', '"loss_scale": 0.0', "loss_scale must be a number from "),
        ('"loss_scale": 64.0', '"loss_scale": 1e308', "loss_scale must be a number from "),
        ('"loss_scale": 64.0', '"loss_scale": 32768.0', "loss_scale must be a number from "),
        ('"loss_scale": 64.0', '"loss_scale": -64.0', "loss_scale must be a number from "),
        ('"loss": 1.5', '"loss": -1.5', "loss must be a number from 0"),
        ('"layers": 1', '"layers": 1000000000', "layers must be an integer from 1 to 1024"),
        ('"layers": 1', '"layers": 1000', "those of its model "),
        ('"dim": 8', '"dim": 65536', "those of its model "),
        ('"heads": 2', '"heads": 0', "heads must be an integer"),
        ('"data": "synthetic"', '"data": "\\u001b[2J"', "data must be a line"),
        ('"data": "synthetic"', '"more": 1, "data": "synthetic"', "unknown field `more`"),
        ('"device": "', '"device": "\\u001b', "device must be a line"),
        ('"telemetry": null', '"telemetry": "run.jsonl"', "telemetry must be an absolute path"),
        ('"weights": null', f'"weights": "/{"a" * 4096}"', "weights must be a line"),
        ('"state_folder": null', '"state_folder": 3', "Expected `str | null`, got `int`"),
        ('"compile_timeout": 120.0', '"compile_timeout": 1e99', "compile_timeout must be a number from "),
        ('"eval_every": 10', '"eval_every": 0', "eval_every must be an integer from 1"),
        ('"evaluated": 0', '"evaluated": 9', "evaluated must be an integer from 0 to 8, not 9"),
        ('"best_step": 0', '"best_step": 1', "best_step must be an integer from 0 to 0, not 1"),
        ('"best_loss": null', '"best_loss": 1.0', "best_step must be an integer from 1 to 0, not 0"),
        (
            '"evaluated": 0,\n  "best_loss": null,\n  "best_step": 0',
            '"evaluated": 4, "best_loss": -1.0, "best_step": 4',
            "best_loss must be a number from 0",
        ),
        ('"evaluation": null', '"evaluation": "\\u001b"', "evaluation must be a line"),
        ('"keep": 2', '"keep": 0', "keep must be an integer from 1"),
        ('"checkpoint_every": 10.0', '"checkpoint_every": -1.0', "checkpoint_every must be a number from 0"),
        ('"peak_tflops": null', '"peak_tflops": -1', "peak_tflops must be a number from "),
        ('"model_type": "llama"', '"model_type": "gpt"', "is a LlamaForCausalLM with the model_type 'gpt'"),
        ('"tokenizer_sha256": "', '"tokenizer_sha256": "x', "tokenizer_sha256 must be 64 hex"),
    ],
)
def test_what_no_run_writes_is_refused_with_a_right_checksum(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = saved(tmp_path) / "checkpoint.json"
    assert old.encode() in path.read_bytes()
    forge(path, lambda text: text.replace(old.encode(), new.encode(), 1))
    refused(tmp_path, message)


def test_a_changed_tokenizer_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path) / "tokenizer.json"
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.origin(checkpoints.record()) == ORIGIN._replace(path=str(path))
    path.write_bytes(path.read_bytes().replace(b"[]", b"{}"))
    with pytest.raises(CheckpointError, match=r"tokenizer.json: is damaged: its checksum is not the one in"):
        checkpoints.origin(checkpoints.record())
    path.unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer.json: cannot read: No such file"):
        checkpoints.origin(checkpoints.record())


def with_arrays(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a checkpoint's arrays, and give its record their checksum."""
    arrays, path = folder / "arrays.safetensors", folder / "checkpoint.json"
    values = load_file(arrays)
    change(values)
    save_file(values, arrays)
    old = json.loads(path.read_bytes())["sha256"].encode()
    new = records._checksum(arrays.read_bytes())
    forge(path, lambda text: text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("parameters/layers.0.wq", np.nan, "layers.0.wq has 1 value that is not finite"),
        ("parameters/norm", np.inf, "norm has 1 value that is not finite"),
        ("mean/embedding", -np.inf, "embedding has 1 value that is not finite"),
        ("variance/layers.0.w2", np.nan, "layers.0.w2 has 1 value that is not finite"),
        ("variance/layers.0.w2", -1e-9, "the variance of layers.0.w2 has values below 0"),
    ],
)
def test_values_that_no_run_has_are_refused(tmp_path: Path, name: str, value: float, message: str) -> None:
    folder = saved(tmp_path)

    def change(values: dict[str, Any]) -> None:
        values[name].reshape(-1)[-1] = value

    with_arrays(folder, change)
    refused(tmp_path, message)


def other_type(values: dict[str, Any]) -> None:
    for name, value in values.items():  # the file has the same size
        values[name] = value.view(np.float16)


def other_shape(values: dict[str, Any]) -> None:
    values["mean/layers.0.wk"] = values["mean/layers.0.wk"].T.copy()


def other_name(values: dict[str, Any]) -> None:
    values["mean/layers.1.wk"] = values.pop("mean/layers.0.wk")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_type, "is F16"),
        (other_shape, r"mean/layers.0.wk is F32\[8, 4\], not F32\[4, 8\]"),
        (other_name, "mean/layers.0.wk"),
        (lambda values: values.pop("mean/norm"), "those of its model "),
    ],
)
def test_arrays_of_another_model_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    with_arrays(saved(tmp_path), change)
    refused(tmp_path, message)


def test_an_offset_beyond_the_file_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    arrays, path = folder / "arrays.safetensors", folder / "checkpoint.json"
    data = arrays.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    begin, end = header["mean/norm"]["data_offsets"]
    header["mean/norm"]["data_offsets"] = [begin + 10**9, end + 10**9]
    text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    arrays.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    old, new = records._checksum(data), records._checksum(arrays.read_bytes())
    forge(path, lambda text: text.replace(old, new))
    refused(tmp_path, "takes the bytes from .* and .* would be next")


def test_a_state_that_diverged_replaces_no_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path)
    values = random_parameters(MODEL)
    values["norm"][0] = np.nan
    parts = {"parameters": values, "mean": values, "variance": values}
    with pytest.raises(CheckpointError, match=r"step 12 cannot be saved: norm has 1 value"):
        Checkpoints(tmp_path).save(RUN, RunState(64.0, 12, 2), parts, 1.5)
    assert Checkpoints(tmp_path).open().record.step == 8


def test_a_renamed_checkpoint_is_refused(tmp_path: Path) -> None:
    saved(tmp_path).rename(tmp_path / "step-00000012")
    refused(tmp_path, "is of step 8, in the folder of step 12")


def test_files_obey_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = saved(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(("arrays.safetensors", "checkpoint.json", "tokenizer.json"), 0o640)


def test_the_record_survives(tmp_path: Path) -> None:
    config = replace(CONFIG, decay="cosine", learning_rate=1e-5, clip=None)
    record = Record(
        step=4,
        applied_updates=0,
        loss_scale=2.0**-20,
        loss=None,
        evaluated=4,
        best_loss=2.5,
        best_step=3,
        separate_classifier=True,
        config=config,
        data="500 tokens, SHA-256 0123",
        evaluation=None,
        options=KEPT,
        origin=None,
        tokenizer_sha256=None,
        sha256="0" * 64,
    )
    path = tmp_path / "checkpoint.json"
    path.write_bytes(record.to_json())
    assert Record.load(path, 4) == record
    assert msgspec.json.decode(path.read_bytes())["step"] == 4


def test_the_largest_record_can_be_read(tmp_path: Path) -> None:
    """Fill every text and list to its bound, with characters of four bytes."""
    line, path = "\U0001f600" * 1000, "/" + "\U0001f600" * 4095
    largest = dict.fromkeys(
        ("data", "weights", "state_folder", "eval_data", "telemetry", "tensorboard"), path
    )
    origin = msgspec.structs.replace(
        HuggingFaceConfig.of(replace(MODEL, layers=1024), tied=True),
        layer_types=["full_attention"] * 1024,
        max_position_embeddings=2**63 - 1,
        rope_scaling={"rope_type": "default", "type": "default", "rope_theta": 1e4 / 3},
        torch_dtype="\U0001f600" * 32,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), [1 << 20] * 64),
    )
    vocabulary = Vocabulary(
        library="tokenizers",
        name="\U0001f600" * 255,
        size=1 << 20,
        sha256="0" * 64,
        ends=tuple(range((1 << 20) - 64, 1 << 20)),
    )
    record = Record(
        step=4,
        applied_updates=0,
        loss_scale=1 / 3,
        loss=1 / 3,
        evaluated=4,
        best_loss=1 / 3,
        best_step=4,
        separate_classifier=True,
        config=replace(CONFIG, steps=10**8 - 1, seed=2**63 - 1),
        data=line,
        evaluation=line,
        options=msgspec.structs.replace(KEPT, device=line, **largest),
        origin=origin,
        tokenizer_sha256="0" * 64,
        sha256="0" * 64,
        vocabulary=vocabulary,
    )
    (tmp_path / "checkpoint.json").write_bytes(record.to_json())
    assert Record.load(tmp_path / "checkpoint.json", 4) == record


def test_a_tokenizer_of_many_special_tokens_adds_none_to_the_record() -> None:
    added = [{"id": 8 + n, "content": f"<|{n}|>" + 99 * "x", "special": True} for n in range(40_000)]
    added[7]["content"] = "<|im_end|>"
    vocabulary = vocabulary_of_json(json.dumps({"added_tokens": added, "model": {"vocab": {}}}).encode())
    assert vocabulary.ends == (15,)
    assert len(msgspec.json.encode(vocabulary)) < 300


def test_a_tokenizer_without_the_folder_that_it_is_of_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path) / "checkpoint.json"
    values = {**json.loads(path.read_bytes()), "origin": None}
    del values["checksum"]
    forge(path, lambda text: json.dumps(values, indent=2).encode().removesuffix(b"\n}"))
    refused(tmp_path, "tokenizer_sha256 is of a tokenizer, and origin, whose it is, is missing")
