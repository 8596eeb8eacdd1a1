"""aneperf.train: its result, and runs that are interrupted, killed and resumed."""

import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.report.community import community_entry
from aneperf.schema import check_numbers
from aneperf.training.accounting import COMPONENTS, step_flops
from aneperf.training.checkpoint import CheckpointError, Checkpoints
from aneperf.training.events import BatchDone, Event, KernelsCompiled, StepDone
from aneperf.training.llama2c import save_llama2c
from aneperf.training.models import random_parameters
from aneperf.training.worker import TrainingError
from support import environment
from support.fakes import an_environment
from support.training_runs import MODEL, RUN


@pytest.fixture(scope="module")
def train(pytestconfig: pytest.Config) -> Callable[..., aneperf.TrainingResult]:
    """A small run on the device under test."""
    name = str(pytestconfig.getoption("--device"))

    def train(**options: Any) -> aneperf.TrainingResult:
        return aneperf.train(options.pop("model", MODEL), **{"device": name, **RUN, **options})

    return train


@pytest.fixture(scope="module")
def whole(train: Any) -> Any:
    """The result of the small run, uninterrupted."""
    return train()


@pytest.fixture(scope="module")
def six_steps(train: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of the small run's first six steps."""
    folder = tmp_path_factory.mktemp("run") / "six"
    train(steps=6, checkpoints=folder)
    return folder


def assert_same_end(one: aneperf.TrainingResult, other: aneperf.TrainingResult) -> None:
    for name, value in one.parameters.items():
        np.testing.assert_array_equal(value, other.parameters[name], err_msg=name)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.bin"
    np.random.default_rng(0).integers(0, MODEL.vocab, 500).astype("<u2").tofile(path)
    return path


def test_a_result(train: Any, device: aneperf.Device) -> None:
    result = train(steps=7, peak_tflops=2.0)
    assert (len(result.losses), len(result.times), result.end_step) == (7, 7, 7)
    assert [batch.steps for batch in result.batches] == [3, 3, 1]
    assert all(np.isfinite(result.losses))
    assert result.environment.device == aneperf.info(device).device
    assert result.workers == 1
    assert result.unigram_entropy == pytest.approx(np.log(MODEL.vocab))
    assert not result.interrupted
    assert result.flops == step_flops(MODEL)
    assert result.device_tflops == pytest.approx(7 * result.flops.device / result.train_ms / 1e9)
    assert result.total_tflops / result.device_tflops == pytest.approx(
        result.flops.total / result.flops.device
    )
    assert result.utilization == pytest.approx(result.device_tflops / 2)
    assert 0 < result.python_share < 1
    assert result.compile_ms + result.train_ms < 1e3 * result.seconds
    for times in result.times:
        phases = sum(times.forward.values()) + sum(times.backward.values())
        assert phases + times.other == pytest.approx(times.wall, rel=1e-9)
        assert times.other >= 0
    assert set(result.parameters) == set(random_parameters(MODEL))
    moved = np.abs(result.parameters["layers.0.wq"] - random_parameters(MODEL, 4)["layers.0.wq"]).max()
    assert 1e-3 < moved < 1e-1
    assert result.notes == []


@pytest.mark.thorough
def test_a_small_model_learns_real_text(train: Any, tmp_path: Path) -> None:
    """More than how frequent bytes are: the documentation of Python that Python has, in 60 steps."""
    text = Path(pytest.importorskip("pydoc_data.topics").__file__).read_bytes()
    path = tmp_path / "tokens.bin"
    np.frombuffer(text, np.uint8).astype("<u2").tofile(path)
    model = TransformerConfig(
        dim=64, hidden=128, layers=1, heads=4, kv_heads=4, head_dim=16, vocab=256, seq=128
    )
    result = train(
        model=model, data=path, steps=60, accumulation=1, warmup=5, decay="cosine", beta2=0.95, seed=0
    )
    shares = np.bincount(np.frombuffer(text, np.uint8)) / len(text)
    entropy = -sum(share * np.log(share) for share in shares if share)
    assert result.unigram_entropy == pytest.approx(entropy)
    assert result.losses[0] > 5
    assert np.mean(result.losses[-10:]) < entropy - 0.25
    assert f"over the last 10 steps; unigram entropy of the data {entropy:.4f}" in str(result)


def test_the_report(train: Any) -> None:
    result = train(model="stories260k", steps=2, accumulation=2, as_published=True)
    assert result.model == "stories260k"
    text = str(result)
    assert "aneperf train stories260k, pipeline static, as published" in text
    assert "without rotary positions" in text
    assert "Total steps: 2" in text
    assert "ANE utilization: unavailable" in text
    assert all(f"\n{name} " in text for name in (*COMPONENTS, "other", "step", "dw"))
    if result.environment.is_software:
        assert "not a Neural Engine measurement" in text
        assert "(emulator)" in text or "(stand-in)" in text
    shares = [float(line.split()[-1][:-1]) for line in text.splitlines() if line.endswith("%")][:7]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert "<table>" in result._repr_html_()


def test_the_parameters_are_not_in_memory_twice(train: Any) -> None:
    """Beside the shared state, until the workers have ended and the result gets its own."""
    model = TransformerConfig(**{**vars(MODEL), "vocab": 40_000, "seq": 8})
    held = []

    def progress(event: Event) -> None:
        if isinstance(event, StepDone):
            held.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        result = train(model=model, steps=2, accumulation=1, progress=progress)
        end = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    size = sum(value.nbytes for value in result.parameters.values())
    assert max(held) < size / 2 < size < end


def test_its_rows_have_the_published_keys(train: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    result = train(model="stories260k", steps=4, accumulation=2, output=path)
    saved = aneperf.Result.load(path)
    check_numbers(saved)
    rows = {row.key.removeprefix("training/static/stories260k/"): row for row in saved}
    assert {"step", "ane-rate", "compile", *COMPONENTS} <= rows.keys()
    assert rows["ane-rate"].unit == "TFLOPS"
    assert rows["ane"].mean == pytest.approx(np.mean([step.forward["ane"] for step in result.times]))
    assert rows["step"].mean == pytest.approx(result.train_ms / 4)
    assert "training/static/stories260k/step" in str(saved)
    published = train(model="stories260k", steps=2, accumulation=2, as_published=True).to_result()
    assert all(row.key.endswith("/as-published") for row in published)


def test_a_chips_result_stands_beside_the_published_ones(train: Any) -> None:
    result = train(steps=6)
    result.model, result.environment = "stories110m", an_environment(device="ane", chip="Apple M4 Max")
    saved = result.to_result()
    compared = {line.key.rpartition("/")[2] for line in saved.compare("M4 Max")}
    assert {"step", "ane", "ane-rate", "compile"} <= compared
    entry = community_entry(saved)
    assert all(len(entry[name]) == 2 for name in ("ms_per_step", "ane_ms", "compile_ms", "ane_tflops"))
    with pytest.raises(aneperf.ArgumentError, match="this train result has no row in common"):
        train(steps=1).to_result().compare("M4 Max")


def test_the_model_can_be_kept_and_trained_further(train: Any, tmp_path: Path, tokens: Path) -> None:
    path = tmp_path / "model.bin"
    result = train(data=tokens)
    result.save_llama2c(path)
    again = train(model=None, weights=path, data=tokens, steps=1, accumulation=1, learning_rate=1e-9)
    assert again.config.model == MODEL
    for name, value in result.parameters.items():
        np.testing.assert_allclose(again.parameters[name], value, atol=1e-7)
    longer = TransformerConfig(**{**vars(MODEL), "seq": 24})
    assert train(model=longer, weights=path, steps=1).config.model.seq == 24
    other = TransformerConfig(**{**vars(MODEL), "hidden": 32})
    with pytest.raises(
        aneperf.ArgumentError, match=r"has another model, dim32-hidden64.*, than dim32-hidden32"
    ):
        train(model=other, weights=path)


@pytest.mark.parametrize(("pipeline", "scale"), [("static", 2.0**21), ("static-ane", 2.0**18)])
def test_resuming_changes_no_bit(
    train: Any, tmp_path: Path, tokens: Path, pipeline: str, scale: float
) -> None:
    """The first updates are skipped, since the gradients overflow, so that the loss scale changes too."""
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


def test_a_classifier_of_its_own_is_resumed_too(train: Any, tmp_path: Path) -> None:
    parameters = random_parameters(MODEL) | {"classifier": random_parameters(MODEL, 9)["embedding"]}
    save_llama2c(tmp_path / "model.bin", MODEL, parameters)
    options = {"model": None, "weights": tmp_path / "model.bin"}
    whole = train(**options)
    assert (whole.parameters["classifier"] != parameters["classifier"]).any()
    train(**options, steps=6, checkpoints=tmp_path / "c")
    rest = train(model=None, checkpoints=tmp_path / "c", resume=True)
    assert rest.losses == whole.losses[6:]
    assert_same_end(rest, whole)


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
    train: Any, whole: Any, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    code = ENDLESS.format(
        device=str(pytestconfig.getoption("--device")),
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
    assert Checkpoints(tmp_path).load()[0].step == 12


def test_what_a_run_refuses_it_leaves_no_trace_of(train: Any, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("output", "telemetry", "trace", "checkpoints")}
    for options, message in [
        ({"model": "gpt"}, "no model is called 'gpt': choose stories260k"),
        ({"steps": 0}, "steps must be an integer of at least 1, not 0"),
        ({"data": tmp_path / "none"}, "none cannot be read"),
        ({"weights": tmp_path / "none.bin"}, "none.bin cannot be read"),
        ({"device": "gpu"}, "no device is called 'gpu'"),
        ({"peak_tflops": 0}, "peak_tflops must be a positive"),
        ({"checkpoint_every": 0}, "checkpoint_every must be an integer of at least 1, not 0"),
        ({"keep": 0}, "keep must be an integer of at least 1, not 0"),
        ({"state_folder": tmp_path / "none"}, "no room for"),
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


@pytest.mark.parametrize(("at", "step"), [(StepDone, 7), (KernelsCompiled, 6), (StepDone, 6)])
def test_ctrl_c_keeps_the_last_update(
    train: Any, whole: Any, tmp_path: Path, at: type[Event], step: int
) -> None:  # type: ignore[valid-type]
    before = signal.getsignal(signal.SIGINT)
    result = train(checkpoints=tmp_path, progress=interrupt(at, step), checkpoint_every=100)
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


def test_a_second_ctrl_c_ends_the_run_at_once(train: Any, tmp_path: Path) -> None:
    def twice(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(checkpoints=tmp_path, progress=twice, trace=tmp_path / "trace.json")
    assert Checkpoints(tmp_path).steps() == [3]
    assert not (tmp_path / "trace.json").exists()


def test_training_in_a_thread(train: Any, whole: Any) -> None:
    results: list[aneperf.TrainingResult] = []
    thread = threading.Thread(target=lambda: results.append(train()))
    thread.start()
    thread.join(300)
    assert results[0].losses == whole.losses


def test_what_fails_keeps_the_last_update(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def progress(event: Event) -> None:
        if isinstance(event, BatchDone) and event.batch == 1:
            raise TrainingError("the device is gone")

    with pytest.raises(TrainingError, match="the device is gone"):
        train(checkpoints=tmp_path, checkpoint_every=100, progress=progress)
    assert Checkpoints(tmp_path).steps() == [6]


def test_a_plot(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    result = train()
    result.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    result.plot(tmp_path / "curve.svg")
    drawn = (tmp_path / "curve.svg").read_text()
    assert "<svg" in drawn
    for text in ("loss (nats per token)", "mean of 10 steps", "unigram entropy of the data, 4.16"):
        assert f"<!-- {text} -->" in drawn
    if result.environment.is_software:
        assert "not a Neural Engine measurement" in drawn
    with pytest.raises(aneperf.ArgumentError, match=r"curve\.xyz: not a picture format: "):
        result.plot(tmp_path / "curve.xyz")
    assert not (tmp_path / "curve.xyz").exists()
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    with pytest.raises(aneperf.ArgumentError, match=r"plots need matplotlib: .*'\.\[report\]'"):
        result.plot(tmp_path / "other.png")
