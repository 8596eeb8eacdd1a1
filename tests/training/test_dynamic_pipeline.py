"""The dynamic pipeline: the same gradients as the static one, without compiles between updates."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training import dynamic
from aneperf.training.accounting import StepTimes, keyed_times
from aneperf.training.config import TrainingConfig
from aneperf.training.dynamic import DynamicPipeline
from aneperf.training.dynamic_published import PublishedDynamicPipeline
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.pipeline import StaticPipeline
from aneperf.training.step import TrainingStep
from support import small_model

# As in Qwen3, the queries have other channels than the model, and pairs of them share a key.
MODEL = TransformerConfig(
    dim=48, hidden=96, layers=2, heads=6, kv_heads=3, head_dim=16, vocab=96, seq=32, qk_norm=True
)


def tokens(config: TransformerConfig, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, config.vocab, config.seq + 1)


def loaded(step: TrainingStep) -> TrainingStep:
    step.load_fixed()
    step.load()
    return step


def gradients_of(
    step: TrainingStep, parameters: Parameters, loss_scale: float = 1024.0
) -> tuple[float, Parameters]:
    text = tokens(step.config)
    gradients = {name: np.full_like(value, np.nan) for name, value in parameters.items()}
    return step.step(text[:-1], text[1:], gradients, loss_scale=loss_scale), gradients


def assert_alike(got: Parameters, expected: Parameters, tolerance: float) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert np.linalg.norm(got[name] - value) <= tolerance * np.linalg.norm(value), name


@pytest.mark.parametrize("chip", ["none", "h16"])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_gradients_are_those_of_the_static_pipeline(chip: str, qk_norm: bool) -> None:
    device, config = aneperf.open(chip=chip), replace(MODEL, qk_norm=qk_norm)
    parameters = random_parameters(config)
    expected_loss, expected = gradients_of(loaded(StaticPipeline(device, config, parameters)), parameters)
    loss, gradients = gradients_of(loaded(DynamicPipeline(device, config, parameters)), parameters)
    assert loss == pytest.approx(expected_loss, abs=1e-4)
    assert_alike(gradients, expected, 0.01)


def test_losses_are_those_of_the_static_pipeline() -> None:
    def texts() -> Iterator[np.ndarray]:
        corpus = small_model.corpus(200, seed=5)
        for step in range(20):
            yield corpus[step * small_model.MODEL.seq :][: small_model.MODEL.seq + 1]

    config = TrainingConfig(small_model.MODEL, steps=20, accumulation=1, learning_rate=1e-2)
    static, shared = (
        small_model.losses_in_training(
            aneperf.open("emulator"),
            replace(config, pipeline=pipeline),
            random_parameters(small_model.MODEL),
            texts(),
        )
        for pipeline in ("static", "dynamic")
    )
    assert static[-1] < static[0] - 0.5
    np.testing.assert_allclose(shared, static, atol=0.01)


def test_an_update_compiles_nothing(device: aneperf.Device) -> None:
    parameters = random_parameters(MODEL)
    step = DynamicPipeline(device, MODEL, parameters)
    before = device.compiles_used
    assert step.load_fixed() == 10
    assert step.load() == 0
    old, _ = gradients_of(step, parameters)
    for name, value in random_parameters(MODEL, seed=1).items():
        parameters[name][:] = value
    assert step.load() == 0
    assert device.compiles_used == before + 10
    changed = gradients_of(step, parameters)
    fresh = gradients_of(loaded(DynamicPipeline(device, MODEL, parameters)), parameters)
    assert changed[0] == fresh[0] != old
    for name, value in fresh[1].items():
        np.testing.assert_array_equal(changed[1][name], value)


@pytest.mark.parametrize(
    ("widest", "chunks"), [(352, [1, 1, 2, 1, 1, 1, 1, 1, 1, 1]), (160, [3, 1, 3, 1, 2, 1, 1, 1, 1, 2])]
)
def test_chunks_compute_the_same(
    device: aneperf.Device, monkeypatch: pytest.MonkeyPatch, widest: int, chunks: list[int]
) -> None:
    config = replace(MODEL, hidden=108)
    parameters = random_parameters(config)
    expected_loss, expected = gradients_of(loaded(DynamicPipeline(device, config, parameters)), parameters)
    monkeypatch.setattr(dynamic, "_widest_input", lambda device: widest)
    step = DynamicPipeline(device, config, parameters)
    assert [kernel.chunks for kernel in step._shared] == chunks
    loss, gradients = gradients_of(loaded(step), parameters)
    assert loss == pytest.approx(expected_loss, abs=1e-4)
    assert_alike(gradients, expected, 0.01)


def test_blocks_of_attention_compute_the_same(
    device: aneperf.Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(MODEL, seq=24)  # no other test's: the static pipeline keeps its kernels
    parameters = random_parameters(config)
    expected_loss, expected = gradients_of(loaded(DynamicPipeline(device, config, parameters)), parameters)
    monkeypatch.setattr("aneperf.kernels.config.LONGEST_BLOCK", 8)
    monkeypatch.setattr(dynamic, "_widest_input", lambda device: 136)
    shared = DynamicPipeline(device, config, parameters)
    assert shared._shared[0].chunks == 3
    for step in (StaticPipeline(device, config, parameters), shared):
        loss, gradients = gradients_of(loaded(step), parameters)
        assert loss == pytest.approx(expected_loss, abs=1e-4)
        assert_alike(gradients, expected, 0.01)


@pytest.mark.parametrize(("chip", "widest"), [("h15", 16384), ("h16", 65536)])
def test_inputs_are_as_wide_as_the_engine_takes(chip: str, widest: int) -> None:
    device = aneperf.open(chip=chip)
    wide = replace(MODEL, seq=64, hidden=8192)
    step = DynamicPipeline(device, wide, random_parameters(wide))
    widths = {kernel.family.name: kernel.kernel.program.inputs["x"].shape[-1] for kernel in step._shared}
    assert widths["feed_forward_forward"] == 64 + 3 * 8192 // (2 if widest == 16384 else 1)
    assert max(widths.values()) <= widest
    assert step.load_fixed() == 10


def test_published_graphs_scale_residual_branches() -> None:
    """Compare with a model whose weights at the end of each branch are smaller by the published factor."""
    device = aneperf.open(chip="none")
    config = replace(MODEL, kv_heads=MODEL.heads, qk_norm=False)
    parameters, scale = random_parameters(config), np.float32(0.5)  # 1 / sqrt(2 * 2 layers)
    scales = {name: scale if name.endswith(("wo", "w2")) else np.float32(1) for name in parameters}
    smaller = {name: value * scales[name] for name, value in parameters.items()}
    expected_loss, slopes = gradients_of(loaded(DynamicPipeline(device, config, smaller)), smaller)
    loss, gradients = gradients_of(loaded(PublishedDynamicPipeline(device, config, parameters)), parameters)
    assert loss == pytest.approx(expected_loss, abs=1e-4)
    assert_alike(gradients, {name: value * scales[name] for name, value in slopes.items()}, 0.01)


@pytest.mark.parametrize("pipeline", [DynamicPipeline, PublishedDynamicPipeline])
def test_components_add_up(
    device: aneperf.Device, pipeline: type[DynamicPipeline] | type[PublishedDynamicPipeline]
) -> None:
    parameters = random_parameters(MODEL)
    step = loaded(pipeline(device, MODEL, parameters))
    gradients_of(step, parameters)
    spans, products = step.take_spans()
    wall = spans[-1][2] - spans[0][1]
    times = StepTimes.of(wall, spans, products, "dynamic")
    keyed = keyed_times(times, "dynamic")
    assert sum(keyed.values()) + times.other == pytest.approx(times.wall)
    measured = {name for name, ms in keyed.items() if ms}
    of_cpu = {"silu"} if pipeline is PublishedDynamicPipeline else set()
    always = {"ane_fwd", "io_fwd", "rms", "ane_bwd", "io_bwd", "rms_bwd", "cls", "elem", "elem-backward"}
    assert measured == always | of_cpu | {"cblas_wait-backward"}
    assert len(products) == 7 * MODEL.layers + 1
