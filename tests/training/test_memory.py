"""Memory beside the state of a run: never all of the weights, since a large model does not fit twice."""

import json
import mmap
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.training import trainer
from aneperf.training.checkpoint import CheckpointError, Checkpoints
from aneperf.training.events import Event, RunStarted
from aneperf.training.llama2c import save_llama2c
from aneperf.training.lora import Adapter
from aneperf.training.models import random_parameters
from aneperf.training.safetensors_file import Safetensors
from support.training_runs import MODEL


class Alive:
    """Counts the arrays that were added and are still in memory."""

    def __init__(self) -> None:
        self._arrays: list[Any] = []
        self.most = 0

    def add(self, array: Any) -> Any:
        self._arrays.append(weakref.ref(array))
        self.most = max(self.most, sum(found() is not None for found in self._arrays))
        return array


class Begun(Exception):
    """The state is complete, and the run begins."""


def begun(event: Event) -> None:
    assert isinstance(event, RunStarted)
    raise Begun


@pytest.fixture(scope="module", params=[{}, {"lora_rank": 2}], ids=["full", "lora"])
def saved(request: Any, train: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of a run."""
    folder: Path = tmp_path_factory.mktemp("run") / "c"
    train(**request.param, steps=3, checkpoints=folder)
    return folder


@pytest.mark.parametrize("start", ["random", "weights"])
def test_initial_weights_are_freed_one_by_one(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    alive, checked = Alive(), trainer.checked_parameters

    def watched(*arguments: Any) -> Iterator[Any]:
        return ((name, alive.add(value)) for name, value in checked(*arguments))

    save_llama2c(tmp_path / "model.bin", MODEL, random_parameters(MODEL))
    monkeypatch.setattr(trainer, "checked_parameters", watched)
    options = {"model": None, "weights": tmp_path / "model.bin"} if start == "weights" else {}
    with pytest.raises(Begun):
        train(**options, progress=begun)
    assert alive.most <= 2  # the one that is copied, and the next


@pytest.mark.parametrize("use", ["resume", "weights"])
def test_a_checkpoint_is_read_one_array_at_a_time(
    train: Any, saved: Path, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    """Read all of it to resume, and the weights alone to begin another run."""
    alive, read = Alive(), Safetensors.read
    monkeypatch.setattr(Safetensors, "read", lambda file, name: alive.add(read(file, name)))
    options = {"checkpoints": saved, "resume": True, "steps": 6}
    if use == "weights":
        options = {"weights": saved, "model": MODEL}
    with pytest.raises(Begun):
        aneperf.train(**options, device="emulator", progress=begun)
    parts = Checkpoints(saved).open().parts
    model = sum(len(parts[part]) for part in ("frozen", "parameters") if part in parts)
    assert alive.most <= (2 if use == "resume" else model + 1)


def test_a_checkpoint_that_changes_before_it_is_copied_is_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[Event] = []
    create = trainer.SharedState.create

    def changed(*arguments: Any) -> Any:
        with (saved / "step-00000003" / "arrays.safetensors").open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x7f")
        return create(*arguments)

    monkeypatch.setattr(trainer.SharedState, "create", changed)
    with pytest.raises(CheckpointError, match=r"arrays\.safetensors: was changed while it was in use"):
        aneperf.train(checkpoints=saved, resume=True, steps=6, progress=began.append)
    assert began == []
    with pytest.raises(CheckpointError, match="its checksum is not the one in"):
        aneperf.train(checkpoints=saved, resume=True, steps=6, progress=began.append)
    assert began == []


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_what_is_read_has_memory_of_its_own(tmp_path: Path, dtype: str) -> None:
    """Read into memory that malloc cannot keep."""
    bits = np.array([[0x3F800000, 0xC0490000], [0x00000000, 0x41200000]], np.uint32)  # 1, -3.140625, 0, 10
    values = bits.view(np.float32)
    stored = {"F32": values, "F16": values.astype(np.float16), "BF16": (bits >> 16).astype(np.uint16)}[dtype]
    entry = {"dtype": dtype, "shape": [2, 2], "data_offsets": [0, stored.nbytes]}
    header = json.dumps({"x": entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + stored.tobytes())
    with Safetensors(path, CheckpointError) as file:
        found = file.read("x")
    np.testing.assert_array_equal(found, values)
    memory: Any = found
    while isinstance(memory, np.ndarray):
        memory = memory.base
    assert isinstance(memory.obj, mmap.mmap)


def test_merged_weights_are_made_once(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made, merged = [], Adapter.merged

    def remembered(*arguments: Any) -> Any:
        made.append(merged(*arguments))
        return made[-1]

    monkeypatch.setattr(Adapter, "merged", remembered)
    result = train(steps=3, lora_rank=2)
    results = [value for name, value in result.parameters.items() if name.rpartition(".")[2].startswith("w")]
    assert len(results) == len(made) == 7 * MODEL.layers
    assert all(one is other for one, other in zip(results, made, strict=True))
