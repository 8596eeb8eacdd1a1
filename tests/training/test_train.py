"""aneperf.train: its result, report, rows and plot."""

import inspect
import sys
import tracemalloc
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.report.community import community_entry
from aneperf.schema import check_numbers
from aneperf.training.accounting import COMPONENTS, step_flops
from aneperf.training.events import Event, StepDone
from aneperf.training.models import random_parameters
from aneperf.training.options import TrainOptions
from support.fakes import an_environment
from support.training_runs import MODEL


def test_every_option_is_a_documented_keyword() -> None:
    keywords = inspect.signature(aneperf.train).parameters
    options = {field.name: field for field in fields(TrainOptions)}
    assert {name: keyword.default for name, keyword in keywords.items()} == {
        name: field.default for name, field in options.items()
    }
    documented = inspect.getdoc(aneperf.train)
    assert all(f"\n    {name}: " in documented for name in options.keys() - {"progress"})
    with pytest.raises(TypeError, match=r"^train: got an unexpected keyword argument 'step'$"):
        aneperf.train(step=3)  # type: ignore[call-arg]


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
    assert result.tokens_per_s == pytest.approx(7e3 * MODEL.seq / result.train_ms)
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
    """Train 60 steps on Python's documentation: the loss falls below the entropy of the byte frequencies."""
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
    """Keep parameters only in the shared state until the workers end and the result gets its copy."""
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
    result = train(model="stories260k", steps=2, accumulation=1, output=path)
    saved = aneperf.Result.load(path)
    check_numbers(saved)
    rows = {row.key.removeprefix("training/static/stories260k/"): row for row in saved}
    assert {"step", "ane-rate", "compile", *COMPONENTS} <= rows.keys()
    assert rows["ane-rate"].unit == "TFLOPS"
    assert rows["ane"].mean == pytest.approx(np.mean([step.forward["ane"] for step in result.times]))
    assert rows["step"].mean == pytest.approx(result.train_ms / 2)
    assert "training/static/stories260k/step" in str(saved)
    published = train(model=MODEL, steps=2, accumulation=2, as_published=True).to_result()
    assert all(row.key.endswith("/as-published") for row in published)


def test_the_dynamic_pipelines_rows_add_up_to_its_steps(train: Any) -> None:
    result = train(model=MODEL, pipeline="dynamic", steps=4, accumulation=2)
    rows = {row.key.rpartition("/")[2]: row for row in result.to_result()}
    published = {"ane_fwd", "io_fwd", "rms", "ane_bwd", "io_bwd", "silu", "rms_bwd", "cls"}
    published |= {"cblas_wait", "dw_copy"}
    left_out = {"elem", "elem-backward", "cblas_wait-backward", "other"}
    others = {"step", "ane-rate", "compile", "dw", "update", "staging"}
    assert rows.keys() == published | left_out | others
    means = {name: row.mean for name, row in rows.items()}
    outside = sum(b.overhead_ms + b.update_ms + b.staging_ms for b in result.batches) / 4
    assert sum(means[name] for name in published | left_out) + outside == pytest.approx(means["step"])
    assert means["step"] == pytest.approx(result.train_ms / 4)
    assert rows["compile"].n == 1  # the second batch compiled nothing
    assert "staging of weights" in str(result)
    assert "with a compile; 1 of 2 had one" in str(result)


def test_a_chips_result_stands_beside_the_published_ones(train: Any) -> None:
    result = train(steps=6)
    result.model, result.environment = "stories110m", an_environment(device="ane", chip="Apple M4 Max")
    saved = result.to_result()
    compared = {line.key.rpartition("/")[2] for line in saved.compare("M4 Max")}
    assert {"step", "ane", "ane-rate", "compile"} <= compared
    assert [row.key for row in result.compare("M4 Max")] == [row.key for row in saved.compare("M4 Max")]
    assert result.compare(result).same
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


def test_a_checkpoint_keeps_the_constants_that_a_file_does_not_tell(train: Any, tmp_path: Path) -> None:
    own = replace(MODEL, rope_theta=5e5, norm_eps=1e-6)
    result = train(model=own, steps=3, checkpoints=tmp_path / "c")
    assert train(model=None, weights=tmp_path / "c", steps=1).config.model == own
    with pytest.raises(
        aneperf.ArgumentError,
        match=r"model.rope_theta is 10000.0, was 500000.0; model.norm_eps is 1e-05, was 1e-06",
    ):
        train(model=replace(MODEL, seq=8), weights=tmp_path / "c", steps=1)
    result.config = replace(result.config, model=MODEL)  # whose constants a llama2.c model can hold
    result.save_llama2c(tmp_path / "m.bin")
    assert train(model=own, weights=tmp_path / "m.bin", steps=1).config.model == own


def test_a_model_without_positions_is_not_saved_for_llama2c(train: Any, tmp_path: Path) -> None:
    result = train(steps=1, as_published=True)
    with pytest.raises(aneperf.ArgumentError, match="cannot run a model that was trained as published"):
        result.save_llama2c(tmp_path / "model.bin")
    assert list(tmp_path.iterdir()) == []


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


def test_inputs_too_wide_for_the_engine_are_refused_before_a_run() -> None:
    model = replace(MODEL, heads=16, kv_heads=1, head_dim=1024)
    with pytest.raises(
        aneperf.ArgumentError,
        match=r"input of attention_forward is 18464 wide, .* takes 16384: choose shorter .* pipeline static",
    ):
        aneperf.train(model, pipeline="dynamic", device="emulator:h15")


@pytest.mark.own_budget
def test_more_kernels_than_a_process_may_compile_are_refused(train: Any, tmp_path: Path) -> None:
    for pipeline, layers, kernels in (("static", 17, 102), ("static-ane", 13, 107)):
        with pytest.raises(
            aneperf.ArgumentError,
            match=f"pipeline {pipeline} compiles {kernels} kernels for {layers} layers, and the device lets "
            "a process compile 100: choose the pipeline dynamic, or fewer layers",
        ):
            train(
                model=replace(MODEL, layers=layers),
                pipeline=pipeline,
                device="emulator",
                telemetry=tmp_path / "t",
            )
    assert not list(tmp_path.iterdir())
