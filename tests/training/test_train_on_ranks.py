"""`aneperf.train` on several ranks, as threads: what is compared at the start, who writes, and resuming."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.cluster.communicator import Communicator
from aneperf.errors import AneError
from aneperf.training.llama2c import save_llama2c
from aneperf.training.models import random_parameters
from aneperf.training.record import CheckpointError
from aneperf.training.result import TrainingResult
from support.ranks import run_ranks
from support.training_runs import MODEL, RUN, assert_trained_alike

TOLERANCE = 1e-4  # of losses

Train = Callable[..., list[Any]]


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Train:
    """Return what trains on ranks, with options that may depend on the rank, and catches their errors."""
    here = threading.local()
    monkeypatch.setattr("aneperf.training.run.open_communicator", lambda: here.communicator)

    def train(ranks: int, of_rank: Callable[[int], dict[str, Any]] = lambda rank: {}, **options: Any) -> Any:
        def act(communicator: Communicator) -> TrainingResult | str:
            here.communicator = communicator
            asked = {"device": "emulator:h16", **options, **of_rank(communicator.rank)}
            try:
                return aneperf.train(**asked)
            except AneError as error:
                return str(error)

        return run_ranks(ranks, act)

    return train


def tokens(path: Path, seed: int) -> Path:
    np.random.default_rng(seed).integers(0, MODEL.vocab, 500).astype(np.uint16).tofile(path)
    return path


@pytest.mark.parametrize("of_all", [False, True])
def test_what_one_rank_cannot_read_ends_all(tmp_path: Path, train: Train, of_all: bool) -> None:
    there, missing = tokens(tmp_path / "tokens.bin", 0), tmp_path / "missing.bin"
    first, second = train(
        2, lambda rank: {"data": missing if rank == 1 or of_all else there}, model=MODEL, **RUN
    )
    assert str(missing) in second
    assert first == (second if of_all else f"rank 1 on host1: {second}")


def test_ranks_that_differ_are_refused_with_the_difference(tmp_path: Path, train: Train) -> None:
    for rank in (0, 1):
        tokens(tmp_path / f"{rank}.bin", rank)
        random = random_parameters(MODEL, seed=rank)
        save_llama2c(tmp_path / f"{rank}.weights", MODEL, random)
    begin = "rank 1 on host1 has another "
    evaluated = {"eval_data": tokens(tmp_path / "eval.bin", 2)}
    differing: dict[str, Callable[[int], dict[str, Any]]] = {
        "learning_rate than rank 0 on host0: 0.25, not 0.5": lambda rank: {"learning_rate": 0.5 / (1 + rank)},
        "data than rank 0 on host0: 500 tokens": lambda rank: {"data": tmp_path / f"{rank}.bin"},
        "eval_every than rank 0 on host0: 2, not 1": lambda rank: {**evaluated, "eval_every": 1 + rank},
        "initial weights than rank 0 on host0: checksum": lambda rank: {
            "weights": tmp_path / f"{rank}.weights"
        },
    }
    for name, of_rank in differing.items():
        found = train(2, of_rank, model=MODEL, steps=4)
        assert found[0] == found[1]
        assert found[0].startswith(begin + name)


def test_weights_of_tokens_outside_the_data_are_compared(tmp_path: Path, train: Train) -> None:
    data = tmp_path / "tokens.bin"
    (np.arange(500) % 2).astype(np.uint16).tofile(data)
    for rank in (0, 1):
        random = dict(random_parameters(MODEL))
        random["embedding"][7] += rank
        save_llama2c(tmp_path / f"{rank}.weights", MODEL, random)
    options = {"model": MODEL, "data": data, "compact_vocabulary": True, "steps": 4}
    first, second = train(2, lambda rank: {"weights": tmp_path / f"{rank}.weights"}, **options)
    assert first == second
    assert first.startswith(
        "rank 1 on host1 has another set of initial weights for tokens outside the data than rank 0 on host0"
    )


@pytest.mark.thorough
def test_another_batch_than_the_checkpoints_is_told_as_it_was_given(tmp_path: Path, train: Train) -> None:
    options = {"model": MODEL, "checkpoints": tmp_path}
    train(1, steps=4, accumulation=4, **options)
    told = (
        "the checkpoint of step 4 is of another run: its batch has 4 steps, and 3 ranks of 2 have 6: leave "
        "out --accumulation, and the ranks divide its batch"
    )
    assert train(3, steps=8, accumulation=2, resume=True, **options) == [told] * 3


def test_options_without_their_others_are_refused_on_all_ranks(train: Train) -> None:
    refused: dict[str, dict[str, Any]] = {
        "resume needs the folder": {"resume": True},
        "needs eval_data": {"eval_every": 2},
        "energy: several ranks train, and no meter reads all": {"energy": True},
        "steps must be": {"steps": -1},
    }
    for told, options in refused.items():
        first, second = train(2, model=MODEL, **options)
        assert told in first
        assert told in second
    (first, second) = train(2, lambda rank: {"steps": -rank or 4}, model=MODEL)
    assert first == f"rank 1 on host1: {second}"


@pytest.mark.thorough
@pytest.mark.parametrize("changed", [{}, {"compact_vocabulary": True}, {"lora_rank": 2}], ids=str)
def test_a_run_resumes_on_other_numbers_of_ranks(
    tmp_path: Path, train: Train, changed: dict[str, Any]
) -> None:
    """Go from 4 ranks to 2 to 1, and compare with one rank that never stopped."""
    data, folder = tokens(tmp_path / "tokens.bin", 0), tmp_path / "checkpoints"
    options = {"data": data, "model": MODEL, "seed": 4, "learning_rate": 1e-2, **changed}
    options |= {"eval_data": tokens(tmp_path / "eval.bin", 0), "eval_every": 1, "eval_sequences": 5}
    (whole,) = train(1, steps=12, accumulation=4, **options)
    parts = [train(4, steps=4, accumulation=1, checkpoints=folder, **options)]
    parts.append(train(2, steps=8, checkpoints=folder, resume=True))
    parts.append(train(1, steps=12, checkpoints=folder, resume=True))
    assert [part[0].config.accumulation for part in parts] == [4, 4, 4]
    for part in parts:
        for other in part[1:]:
            assert other.checkpoint is None
            assert other.losses == part[0].losses
            for name, value in part[0].parameters.items():
                np.testing.assert_array_equal(other.parameters[name], value, err_msg=name)
    losses = [loss for part in parts for loss in part[0].losses]
    np.testing.assert_allclose(losses, whole.losses, atol=TOLERANCE)
    validations = [each.loss for part in parts for each in part[0].validations]
    np.testing.assert_allclose(validations, [each.loss for each in whole.validations], atol=TOLERANCE)
    assert_trained_alike(whole.parameters, parts[-1][0].parameters, RUN["learning_rate"])


@pytest.mark.thorough
def test_rank_0_alone_writes_and_shows(tmp_path: Path, train: Train) -> None:
    shown: list[object] = []
    files = {"output": "run.json", "telemetry": "run.jsonl", "trace": "trace.json", "checkpoints": "saved"}
    written = {name: tmp_path / file for name, file in files.items()}
    first, second = train(2, model=MODEL, steps=4, accumulation=1, progress=shown.append, **written)
    assert {path.name for path in tmp_path.iterdir()} == set(files.values())
    assert first.checkpoint == tmp_path / "saved" / "step-00000004"
    assert second.checkpoint is None
    assert shown[0].ranks.hosts == ("host0", "host1")  # type: ignore[attr-defined]
    assert first.losses == second.losses
    assert sum(type(event).__name__ == "StepDone" for event in shown) == 2


@pytest.mark.thorough
def test_a_checkpoint_that_cannot_be_written_ends_all_ranks(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*arguments: object, best: bool) -> None:
        raise CheckpointError("the disk is full")

    monkeypatch.setattr("aneperf.training.keeper.Keeper.save", save)
    first, second = train(2, model=MODEL, steps=4, accumulation=1, checkpoints=tmp_path, checkpoint_every=0)
    assert (first, second) == ("the disk is full", "rank 0 on host0: the disk is full")


def test_a_folder_whose_name_is_not_utf_8_is_refused_on_all_ranks(tmp_path: Path, train: Train) -> None:
    folder = tmp_path / os.fsdecode(b"ck\xff")
    first, second = train(2, model=MODEL, checkpoints=folder, **RUN)
    assert first.startswith("several ranks take only paths in UTF-8, not '")
    assert "ck\\udcff" in first
    assert second == f"rank 0 on host0: {first}"
