"""Runs that are interrupted, killed and resumed, and the checkpoints that they refuse."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.checkpoint import CheckpointError, Checkpoints
from aneperf.training.config import Hyperparameters, TrainingConfig
from aneperf.training.events import BatchDone, Event, KernelsCompiled, RunStarted, StepDone
from aneperf.training.llama2c import save_llama2c
from aneperf.training.models import random_parameters
from aneperf.training.options import TrainOptions
from aneperf.training.record import RunOptions
from aneperf.training.resume import left_options, resumed_options
from aneperf.training.run_checkpoints import RunCheckpoints, Saving
from aneperf.training.state import RunState
from aneperf.training.worker import TrainingError
from support import environment
from support.training_runs import MODEL, described


@pytest.fixture(scope="module")
def whole(train: Any) -> Any:
    """Return the result of the small run, uninterrupted."""
    return train()


@pytest.fixture(scope="module")
def six_steps(train: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoints of the small run's first six steps."""
    folder = tmp_path_factory.mktemp("run") / "six"
    train(steps=6, checkpoints=folder)
    return folder


def assert_same_end(one: aneperf.TrainingResult, other: aneperf.TrainingResult) -> None:
    for name, value in one.parameters.items():
        np.testing.assert_array_equal(value, other.parameters[name], err_msg=name)


@pytest.mark.parametrize(
    ("pipeline", "scale"),
    [("static", 2.0**21), pytest.param("static-ane", 2.0**18, marks=pytest.mark.thorough)],
)
def test_resuming_changes_no_bit(
    train: Any, tmp_path: Path, tokens: Path, pipeline: str, scale: float
) -> None:
    """Change the loss scale too: the first updates are skipped because their gradients overflow."""
    options = {"data": tokens, "pipeline": pipeline, "loss_scale": scale, "clip": 1.0, "weight_decay": 0.1}
    whole = train(**options)
    scales = [batch.loss_scale for batch in whole.batches]
    assert scales[0] > scales[-1]
    assert any(batch.applied for batch in whole.batches)
    first = train(**options, steps=6, checkpoints=tmp_path / "c")
    rest = train(**options, checkpoints=tmp_path / "c", resume=True)
    assert rest.first_step == 6
    assert first.losses + rest.losses == whole.losses
    assert [batch.loss_scale for batch in first.batches + rest.batches] == scales
    assert_same_end(rest, whole)
    assert Checkpoints(tmp_path / "c").steps()[-2:] == [9, 12]


@pytest.mark.thorough
def test_a_classifier_of_its_own_is_resumed_too(train: Any, tmp_path: Path) -> None:
    parameters = random_parameters(MODEL) | {"classifier": random_parameters(MODEL, 9)["embedding"]}
    save_llama2c(tmp_path / "model.bin", MODEL, parameters)
    options = {"model": None, "weights": tmp_path / "model.bin"}
    whole = train(**options)
    assert (whole.parameters["classifier"] != parameters["classifier"]).any()
    train(**options, steps=6, checkpoints=tmp_path / "c")
    (tmp_path / "model.bin").unlink()
    rest = train(model=None, checkpoints=tmp_path / "c", resume=True)
    assert rest.losses == whole.losses[6:]
    assert_same_end(rest, whole)


def test_a_run_resumes_with_no_option_but_its_folder(
    train: Any, tmp_path: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"data": tokens, "pipeline": "dynamic", "clip": 1.0, "weight_decay": 0.1}
    whole = train(**options)
    log = tmp_path / "c" / "run.jsonl"
    log.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    train(
        **{**options, "data": tokens.name, "telemetry": "c/run.jsonl", "peak_tflops": 2.0},
        checkpoints=tmp_path / "c",
        progress=interrupt(StepDone, 7),
    )
    monkeypatch.chdir("/")
    rest = aneperf.train(checkpoints=tmp_path / "c", resume=True)
    assert (rest.config, rest.peak_tflops) == (whole.config, 2.0)
    assert rest.losses == whole.losses[6:]
    assert_same_end(rest, whole)
    started = [line for line in map(json.loads, log.read_text().splitlines()) if line["type"] == "run"]
    assert [line["first_step"] for line in started] == [0, 6]
    log.unlink()
    longer = aneperf.train(checkpoints=tmp_path / "c", resume=True, steps=15, telemetry=tmp_path / "new")
    assert len(longer.losses) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "new", tokens.name]
    assert not log.exists()


def test_a_checkpoint_leads_to_no_write_but_in_its_folder(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resume with the paths of a record that comes from elsewhere, also those that no file can have."""
    folder, log, state = tmp_path / "c", tmp_path / "run.jsonl", tmp_path / "state"
    state.mkdir()
    train(steps=3, checkpoints=folder, telemetry=log, state_folder=state)
    (folder / "link").symlink_to(log)
    written = log.read_bytes()
    began: list[RunStarted] = []

    def progress(event: Event) -> None:
        if isinstance(event, RunStarted):
            began.append(event)

    monkeypatch.setattr("aneperf.training.run.Logs.add", None)
    aneperf.train(checkpoints=folder, resume=True, steps=6, progress=progress)
    left = [reason.partition(": ")[2] for reason in began[0].left]
    assert left == [f"--state-folder {state}", f"--telemetry {log}"]
    assert log.read_bytes() == written
    record = Checkpoints(folder).record()
    long = f"{folder}/{'a' * 300}"
    hostile = {"telemetry": f"{folder}/link", "tensorboard": long, "state_folder": long, "weights": long}
    record = msgspec.structs.replace(record, options=msgspec.structs.replace(record.options, **hostile))
    options = resumed_options(record, {"checkpoints": folder})
    assert (options.telemetry, options.tensorboard, options.state_folder) == (None, None, None)
    assert len(left_options(record, {"checkpoints": folder})) == 1
    assert left_options(record, {"checkpoints": folder, "telemetry": None}) == []


def test_data_that_was_moved_is_named_with_the_option(train: Any, tmp_path: Path, tokens: Path) -> None:
    train(data=tokens, steps=3, checkpoints=tmp_path / "c")
    moved = tokens.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"tokens.bin: is not there, .* read it: name it with --data$"):
        aneperf.train(checkpoints=tmp_path / "c", resume=True, steps=6)
    assert aneperf.train(checkpoints=tmp_path / "c", resume=True, steps=6, data=moved).end_step == 6


@pytest.mark.parametrize("name", ["data", "eval_data"])
def test_a_path_that_a_checkpoint_cannot_tell_is_asked_for(six_steps: Path, name: str) -> None:
    """Resume a run whose path is no line of text: a checkpoint has none of it."""
    record = Checkpoints(six_steps).record()
    options = msgspec.structs.replace(record.options, **{name: None})
    record = msgspec.structs.replace(record, options=options, evaluation="6 sequences")
    option = name.replace("_", "-")
    with pytest.raises(
        CheckpointError, match=rf"cannot tell the path of its {name}: name it with --{option}$"
    ):
        resumed_options(record, {"eval_data": None} if name == "data" else {})
    assert getattr(resumed_options(record, {"eval_data": None, name: "given"}), name) == "given"


def test_a_checkpoint_has_every_option_but_those_of_one_command(six_steps: Path) -> None:
    kept = {field.name for field in fields(Hyperparameters)} | {"model", *RunOptions.__struct_fields__}
    once = {"checkpoints", "resume", "output", "trace", "progress", "energy"}
    assert {field.name for field in fields(TrainOptions)} == (kept - {"compile_timeout"}) | once
    record = Checkpoints(six_steps).record()
    resumed = resumed_options(record, {})
    assert resumed.config(record.config.model) == record.config
    gone = msgspec.structs.replace(record.options, device="ane:none", telemetry=str(six_steps / "none"))
    record = msgspec.structs.replace(record, options=gone)
    assert resumed_options(record, {"device": "emulator"}).telemetry is None
    with pytest.raises(CheckpointError, match=r"does not open: no route .*; name another one \(--device\)"):
        resumed_options(record, {})


ENDLESS = """
import os, signal
import aneperf
from aneperf.training.events import StepDone
from support.training_runs import MODEL, RUN

def progress(event):
    if isinstance(event, StepDone) and event.step == 7:
        os.kill(os.getpid(), signal.{signal})

aneperf.train(MODEL, device={device!r}, checkpoints={folder!r}, progress=progress, **RUN)
"""


def test_a_killed_run_loses_the_steps_since_its_checkpoint(
    train: Any, whole: Any, tmp_path: Path, device_name: str
) -> None:
    code = ENDLESS.format(
        device=device_name,
        folder=str(tmp_path / "c"),
        signal="SIGKILL",
    )
    shared = Path("/dev/shm")
    before = set(os.listdir(shared)) if shared.is_dir() else set()
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, timeout=300, env=environment()
    )
    assert run.returncode == -signal.SIGKILL
    after = set(os.listdir(shared)) if shared.is_dir() else set()
    assert not {name for name in after - before if "aneperf" in name}
    resumed = train(checkpoints=tmp_path / "c", resume=True)
    assert resumed.first_step == 6
    assert resumed.losses == whole.losses[6:]
    assert_same_end(resumed, whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": TransformerConfig(**{**vars(MODEL), "hidden": 32})}, "model.hidden is 32, was 64"),
        ({"pipeline": "static-ane"}, "pipeline is 'static-ane', was 'static'"),
        ({"learning_rate": 1e-3, "clip": 2.0}, "learning_rate is 0.001, was 0.01; clip is 2.0, was None"),
        ({"seed": 5}, "seed is 5, was 4"),
        ({"decay": "cosine"}, "decay is 'cosine', was 'constant'"),
        ({"weights": "m.bin"}, r"weights is '.*/m.bin', was None"),
        ({"data": "tokens.bin"}, r"data is '500 tokens, SHA-256 [0-9a-f]{16}', was 'synthetic'"),
        ({"steps": 6}, "the checkpoint of step 6 has the 6 steps of this run: ask for more"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    train: Any, six_steps: Path, tokens: Path, change: dict[str, Any], message: str
) -> None:
    if "data" in change:
        change = {"data": tokens}
    with pytest.raises(CheckpointError, match=message):
        train(**change, checkpoints=six_steps, resume=True)


def test_a_cosine_run_cannot_grow(train: Any, tmp_path: Path) -> None:
    train(steps=6, decay="cosine", checkpoints=tmp_path)
    with pytest.raises(CheckpointError, match="steps is 12, was 6"):
        train(decay="cosine", checkpoints=tmp_path, resume=True)


def test_a_short_last_batch_is_no_place_to_go_on_from(train: Any, whole: Any, tmp_path: Path) -> None:
    train(steps=7, checkpoints=tmp_path)
    with pytest.raises(CheckpointError, match="step 7 ends within a batch of 3 steps"):
        train(checkpoints=tmp_path, resume=True)
    assert train(checkpoints=tmp_path, resume=6).losses == whole.losses[6:]


def test_a_damaged_checkpoint_and_the_one_before(train: Any, whole: Any, tmp_path: Path) -> None:
    train(steps=9, checkpoints=tmp_path)
    arrays = tmp_path / "step-00000009" / "arrays.safetensors"
    os.truncate(arrays, arrays.stat().st_size - 1)
    with pytest.raises(CheckpointError, match=r"step-00000009.* is damaged.*; the one before is of step 6"):
        train(checkpoints=tmp_path, resume=True)
    assert_same_end(train(checkpoints=tmp_path, resume=6), whole)
    assert Checkpoints(tmp_path).open().record.step == 12


def test_what_a_run_refuses_it_leaves_no_trace_of(train: Any, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("output", "telemetry", "trace", "checkpoints")}
    for options, message in [
        ({"model": "gpt"}, "no model is called 'gpt': choose stories260k"),
        ({"steps": 0}, "steps must be an integer from 1 to 99999999, not 0"),
        ({"data": tmp_path / "none"}, "none: cannot read"),
        ({"weights": tmp_path / "none.bin"}, "none.bin: cannot read"),
        ({"device": "gpu"}, "no device is called 'gpu'"),
        ({"peak_tflops": 0}, "peak_tflops must be a number from 1e-06"),
        ({"checkpoint_every": -1}, r"checkpoint_every must be a number from 0 to 1e\+06, not -1"),
        ({"keep": 0}, "keep must be an integer from 1 to 99999999, not 0"),
        ({"state_folder": tmp_path / "none"}, "cannot hold the training state: No such file"),
        ({"resume": True}, "checkpoints has no checkpoint"),
    ]:
        with pytest.raises(aneperf.AneError, match=message):
            train(**{**files, **options})
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(aneperf.ArgumentError, match="resume needs the folder"):
        train(resume=True)
    train(steps=1, checkpoints=files["checkpoints"])
    with pytest.raises(aneperf.ArgumentError, match="has checkpoints, the last of step 1: resume, or name"):
        train(checkpoints=files["checkpoints"])


def interrupt(at: type[Event], step: int) -> Callable[[Event], None]:  # type: ignore[valid-type]
    def progress(event: Event) -> None:
        if isinstance(event, at) and getattr(event, "step", None) == step:  # type: ignore[arg-type]
            os.kill(os.getpid(), signal.SIGINT)

    return progress


@pytest.mark.parametrize(
    ("at", "step"),
    [
        (StepDone, 7),
        (KernelsCompiled, 6),
        pytest.param(StepDone, 6, marks=pytest.mark.thorough),
    ],
)
def test_ctrl_c_keeps_the_last_update(
    train: Any, whole: Any, tmp_path: Path, at: type[Event], step: int
) -> None:  # type: ignore[valid-type]
    before = signal.getsignal(signal.SIGINT)
    result = train(checkpoints=tmp_path, progress=interrupt(at, step), checkpoint_every=10)
    assert signal.getsignal(signal.SIGINT) is before
    assert result.interrupted
    assert result.end_step == len(result.losses) == 6
    assert result.steps_lost == (step - 5 if at is StepDone else 0)
    assert "Interrupted: the result ends with step 6" in str(result)
    assert Checkpoints(tmp_path).steps() == [6]
    assert result.losses == whole.losses[:6]
    assert_same_end(train(checkpoints=tmp_path, resume=True), whole)


def test_ctrl_c_before_the_first_update(train: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    result = train(checkpoints=tmp_path / "c", output=path, progress=interrupt(StepDone, 1))
    assert (result.losses, result.steps_lost, result.device_tflops) == ([], 2, None)
    assert not (tmp_path / "c").exists()
    assert "Total steps: 0" in str(result)
    assert "Interrupted: before the first update; steps lost since then: 2." in str(result)
    assert "<div>" in result._repr_html_()
    assert len(aneperf.Result.load(path)) == 0


def test_a_second_ctrl_c_ends_the_run_at_once(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aneperf.signals.REPEAT_S", 0.0)

    def twice(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(checkpoints=tmp_path, progress=twice, trace=tmp_path / "trace.json")
    assert Checkpoints(tmp_path).steps() == [3]
    assert not (tmp_path / "trace.json").exists()


def test_a_checkpoint_is_due_some_minutes_after_the_one_before(tmp_path: Path) -> None:
    config = TrainingConfig(MODEL, steps=12)
    state, values = RunState(1.0, 10, 1), {name: abs(v) for name, v in random_parameters(MODEL).items()}
    parts = {"parameters": values, "mean": values, "variance": values}
    now = [1000.0]
    saving = Saving(folder=str(tmp_path), run=described(config), keep=2, minutes=10, first_step=0)
    checkpoints = RunCheckpoints(saving, clock=lambda: now[0])
    due = []
    for now[0] in (1000.0, 1599.0, 1600.0, 1900.0):
        due.append(checkpoints.is_due)
    checkpoints.save(state, parts, 1.0)
    for now[0] in (1900.0, 2499.0, 2500.0):
        due.append(checkpoints.is_due)
    assert due == [False, False, True, True, False, False, True]
    assert not RunCheckpoints(Saving(folder=None, run=saving.run, keep=2, minutes=0, first_step=0)).is_due


def test_a_short_run_saves_its_end_alone(train: Any, whole: Any, tmp_path: Path) -> None:
    train(steps=6, checkpoints=tmp_path, checkpoint_every=10)
    assert Checkpoints(tmp_path).steps() == [6]
    rest = aneperf.train(checkpoints=tmp_path, resume=True, steps=12, checkpoint_every=0, keep=3)
    assert (rest.losses, Checkpoints(tmp_path).steps()) == (whole.losses[6:], [6, 9, 12])


def test_training_in_a_thread(train: Any, whole: Any) -> None:
    results: list[aneperf.TrainingResult] = []
    thread = threading.Thread(target=lambda: results.append(train()))
    thread.start()
    thread.join(300)
    assert results[0].losses == whole.losses


def test_data_that_is_cut_keeps_the_last_update(train: Any, tmp_path: Path, tokens: Path) -> None:
    def progress(event: Event) -> None:
        if isinstance(event, BatchDone) and event.batch == 1:
            os.truncate(tokens, 10)

    with pytest.raises(aneperf.AneError, match=r"tokens\.bin: was c"):
        train(checkpoints=tmp_path / "c", checkpoint_every=10, data=tokens, progress=progress)
    assert Checkpoints(tmp_path / "c").steps() == [6]


def test_what_fails_keeps_the_last_update(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def progress(event: Event) -> None:
        if isinstance(event, BatchDone) and event.batch == 1:
            raise TrainingError("the device is gone")

    with pytest.raises(TrainingError, match="the device is gone"):
        train(checkpoints=tmp_path, checkpoint_every=10, progress=progress)
    assert Checkpoints(tmp_path).steps() == [6]
