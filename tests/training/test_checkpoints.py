"""Checkpoints: a round trip, which ones are kept, and damage of every kind."""

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.checkpoint import CheckpointError, Checkpoints
from aneperf.training.config import TrainingConfig
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.state import RunState
from support.training_runs import described

MODEL = TransformerConfig(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, head_dim=4, vocab=20, seq=8)
CONFIG = TrainingConfig(MODEL, clip=1.0, accumulation=2)


def parts(seed: int = 0) -> dict[str, Parameters]:
    made = {
        part: random_parameters(MODEL, seed + i) for i, part in enumerate(("parameters", "mean", "variance"))
    }
    made["variance"] = {name: np.abs(value) for name, value in made["variance"].items()}
    return made


def save(checkpoints: Checkpoints, step: int, loss: float = 1.0) -> Path:
    return checkpoints.save(described(CONFIG), RunState(128.0, step, step // 2), parts(step), loss)


def test_round_trip(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new" / "folder")
    assert save(checkpoints, 10).name == "step-00000010"
    saved = checkpoints.open()
    record, loaded = saved.record, saved.parts
    assert (record.step, record.applied_updates, record.loss_scale, record.config) == (10, 5, 128.0, CONFIG)
    assert record.data == "synthetic"
    for part, arrays in parts(10).items():
        assert list(loaded[part]) == list(arrays)
        for name, value in arrays.items():
            np.testing.assert_array_equal(loaded[part][name], value)


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, float("nan")), (5, 4.0)):
        save(checkpoints, step, loss)
    assert checkpoints.steps() == [2, 4, 5]
    assert {path.name for path in tmp_path.iterdir()} == {f"step-{step:08d}" for step in (2, 4, 5)}
    save(checkpoints, 5, 0.5)
    assert checkpoints.open(5).record.loss == 0.5


def test_going_back_drops_what_came_after(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2, 3):
        save(checkpoints, step)
    unfinished = tmp_path / ".step-00000009-0123abcd"
    unfinished.mkdir()
    (tmp_path / "notes").mkdir()
    save(checkpoints, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000001", "step-00000002", "notes"}


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        Checkpoints(tmp_path / "none").open()
    assert list(tmp_path.iterdir()) == []
    for keep in (0, True, 1.5):
        with pytest.raises(aneperf.ArgumentError, match="keep must be an integer"):
            Checkpoints(tmp_path, keep)  # type: ignore[arg-type]


def damage(folder: Path, how: str) -> None:
    arrays, record = folder / "arrays.safetensors", folder / "checkpoint.json"
    text = record.read_bytes()
    values = msgspec.json.decode(text)
    if how == "a flipped bit":
        data = bytearray(arrays.read_bytes())
        data[-5] ^= 1
        arrays.write_bytes(data)
    elif how == "arrays cut short":
        os.truncate(arrays, arrays.stat().st_size // 2)
    elif how == "arrays missing":
        arrays.unlink()
    elif how == "record missing":
        record.unlink()
    elif how == "record cut short":
        record.write_bytes(text[:-20])
    elif how == "deep JSON":
        record.write_bytes(b"[" * 100_000)
    elif how == "newer":
        record.write_bytes(msgspec.json.encode(values | {"format": 9}))
    elif how == "unknown field":
        record.write_bytes(msgspec.json.encode(values | {"more": 1}))
    elif how == "another model":
        values["config"]["model"]["dim"] = 32
        record.write_bytes(msgspec.json.encode(values))
    elif how == "impossible model":
        values["config"]["model"]["heads"] = 0
        record.write_bytes(msgspec.json.encode(values))


@pytest.mark.parametrize(
    "how",
    [
        "a flipped bit",
        "arrays cut short",
        "arrays missing",
        "record missing",
        "record cut short",
        "deep JSON",
        "newer",
        "unknown field",
        "another model",
        "impossible model",
    ],
)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_offered(tmp_path: Path, how: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 10)
    damage(save(checkpoints, 20), how)
    with pytest.raises(CheckpointError, match="the one before is of step 10"):
        checkpoints.open()
    assert checkpoints.open(10).record.step == 10
    damage(tmp_path / "step-00000010", how)
    with pytest.raises(CheckpointError, match="no earlier one is there"):
        checkpoints.open(10)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no checkpoint$"):
        Checkpoints(tmp_path).open()
    save(Checkpoints(tmp_path), 10)
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 11: it has \[10\]"):
        Checkpoints(tmp_path).open(11)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is not a folder"):
        Checkpoints(tmp_path / "file")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 10)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"step-00000010 cannot be written: .*No space left"):
        save(checkpoints, 10, loss=0.1)
    monkeypatch.undo()
    assert checkpoints.open(10).record.loss == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]


def test_config_survives(tmp_path: Path) -> None:
    config = replace(CONFIG, decay="cosine", warmup=3, model=replace(MODEL, rope_theta=5e5))
    Checkpoints(tmp_path).save(described(config), RunState(1.0, 4), parts(), 2.0)
    assert Checkpoints(tmp_path).open().record.config == config
