"""A training step: its loss and gradients against a float64 forward pass, and properties of every step."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.dynamic import DynamicPipeline
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.pipeline import StaticAnePipeline, StaticPipeline
from support import small_model, stories260k

SMALL = TransformerConfig(dim=48, hidden=96, layers=2, heads=6, kv_heads=3, head_dim=8, vocab=96, seq=32)

PIPELINES = pytest.mark.parametrize("pipeline", [StaticPipeline, StaticAnePipeline, DynamicPipeline])

# The layers' parameters in the reference figures of stories260K.
_KINDS = {
    "attention.wq": "wq",
    "attention.wk": "wk",
    "attention.wv": "wv",
    "attention.wo": "wo",
    "feed_forward.w1": "w1",
    "feed_forward.w2": "w2",
    "feed_forward.w3": "w3",
    "attention_norm": "rms1",
    "ffn_norm": "rms2",
}


def parameter_name(reference: str) -> str:
    stem = reference.removesuffix(".weight")
    if stem in ("tok_embeddings", "norm"):
        return "embedding" if stem == "tok_embeddings" else stem
    _, layer, kind = stem.split(".", 2)
    return f"layers.{layer}.{_KINDS[kind]}"


def loaded(
    pipeline: type[StaticPipeline],
    device: aneperf.Device,
    config: TransformerConfig,
    parameters: Parameters,
) -> StaticPipeline:
    """Return a pipeline with all its kernels compiled."""
    step = pipeline(device, config, parameters)
    step.load_fixed()
    step.load()
    return step


def empty_like(parameters: Parameters) -> Parameters:
    return {name: np.full_like(value, np.nan) for name, value in parameters.items()}


def tokens(seed: int, config: TransformerConfig) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, config.vocab, config.seq + 1)


@PIPELINES
@pytest.mark.parametrize("sequence", ["text", "random"])
def test_loss_and_gradients_of_a_trained_model(
    device: aneperf.Device, sequence: str, pipeline: type[StaticPipeline]
) -> None:
    """Compare with slopes of the float64 loss, along each gradient and in random directions."""
    parameters, model = small_model.trained(), small_model.MODEL
    text = small_model.corpus(20, seed=1)[: model.seq + 1] if sequence == "text" else tokens(1, model)
    step = loaded(pipeline, device, model, parameters)
    gradients = empty_like(parameters)
    expected = small_model.loss(parameters, model, text)
    assert (expected < 0.9) == (sequence == "text")
    assert step.step(text[:-1], text[1:], gradients, loss_scale=256.0) == pytest.approx(expected, rel=1e-3)
    for name, scaled in gradients.items():
        gradient = scaled.astype(np.float64) / 256
        norm, per_element = np.linalg.norm(gradient), gradient.size**-0.5

        def slope(direction: np.ndarray, name: str = name) -> float:
            above, below = (
                small_model.loss(parameters | {name: parameters[name] + move}, model, text)
                for move in (1e-4 * direction, -1e-4 * direction)
            )
            return (above - below) / 2e-4

        assert slope(gradient / norm) == pytest.approx(norm, rel=0.03), name
        for seed in range(4):
            direction = np.random.default_rng(seed).choice([-per_element, per_element], gradient.shape)
            assert slope(direction) == pytest.approx(
                np.vdot(gradient, direction), abs=0.15 * norm * per_element
            ), name


@PIPELINES
def test_loss_and_gradients_with_norms_of_heads(
    device: aneperf.Device, pipeline: type[StaticPipeline]
) -> None:
    """Compare with slopes of the float64 loss along each gradient, the norms' weights being far from 1."""
    config = replace(SMALL, layers=1, head_dim=16, rope_theta=1e6, norm_eps=1e-6, qk_norm=True)
    parameters, text = random_parameters(config), tokens(1, config)
    random = np.random.default_rng(0)
    for value in parameters.values():
        if value.ndim == 1:
            value += random.uniform(-0.5, 0.5, value.shape).astype(np.float32)
        else:
            value *= 3  # or attention is even, and the norms of heads have no influence
    gradients = empty_like(parameters)
    loss = loaded(pipeline, device, config, parameters).step(text[:-1], text[1:], gradients, loss_scale=4096)
    assert loss == pytest.approx(small_model.loss(parameters, config, text), rel=1e-3)
    for name, scaled in gradients.items():
        gradient = scaled.astype(np.float64) / 4096
        norm = np.linalg.norm(gradient)
        above, below = (
            small_model.loss(parameters | {name: parameters[name] + step * gradient / norm}, config, text)
            for step in (1e-4, -1e-4)
        )
        assert (above - below) / 2e-4 == pytest.approx(norm, rel=0.03), name


@PIPELINES
@pytest.mark.parametrize("sequence", ["greedy", "random"])
def test_loss_and_gradient_norms_of_stories260k(
    plain: aneperf.Device, sequence: str, pipeline: type[StaticPipeline]
) -> None:
    reference = stories260k.reference()
    config, parameters = stories260k.model()
    text = np.array(reference["greedy_from_bos"] if sequence == "greedy" else reference["random"]["tokens"])
    step = loaded(pipeline, plain, replace(config, seq=len(text) - 1), parameters)
    gradients = empty_like(parameters)
    expected = reference[sequence]
    loss = step.step(text[:-1], text[1:], gradients, loss_scale=256.0)
    assert loss == pytest.approx(expected["loss"], abs=0.01)
    assert {parameter_name(name) for name in expected["grad_norms"]} == set(parameters)
    for name, norm in expected["grad_norms"].items():
        assert np.linalg.norm(gradients[parameter_name(name)]) / 256 == pytest.approx(norm, rel=0.02)


@PIPELINES
def test_a_step_adds_to_its_base_and_leaves_it(
    device: aneperf.Device, pipeline: type[StaticPipeline]
) -> None:
    parameters = random_parameters(SMALL)
    step = loaded(pipeline, device, SMALL, parameters)
    a, b, total = (empty_like(parameters) for _ in range(3))
    first, second = tokens(1, SMALL), tokens(2, SMALL)
    step.step(first[:-1], first[1:], a)
    loss = step.step(second[:-1], second[1:], b)
    before = {name: value.copy() for name, value in a.items()}
    assert step.step(second[:-1], second[1:], total, base=a) == loss
    for name in parameters:
        np.testing.assert_array_equal(a[name], before[name])
        scale = np.abs(a[name]).max() + np.abs(b[name]).max()
        np.testing.assert_allclose(total[name], a[name] + b[name], atol=1e-6 * scale)


@PIPELINES
def test_a_step_repeats_bit_for_bit(device: aneperf.Device, pipeline: type[StaticPipeline]) -> None:
    parameters = random_parameters(SMALL)
    text = tokens(1, SMALL)
    results = []
    for _ in range(2):
        step = loaded(pipeline, device, SMALL, parameters)
        for _ in range(2):
            gradients = empty_like(parameters)
            results.append((step.step(text[:-1], text[1:], gradients), gradients))
    for loss, gradients in results[1:]:
        assert loss == results[0][0]
        for name in parameters:
            np.testing.assert_array_equal(gradients[name], results[0][1][name])


def test_a_separate_classifier(device: aneperf.Device) -> None:
    parameters = random_parameters(SMALL)
    text = tokens(1, SMALL)

    def gradients_of(parameters: Parameters) -> Parameters:
        step, gradients = loaded(StaticPipeline, device, SMALL, parameters), empty_like(parameters)
        step.step(text[:-1], text[1:], gradients)
        return gradients

    tied = gradients_of(parameters)
    apart = gradients_of(parameters | {"classifier": parameters["embedding"].copy()})
    both = apart["embedding"] + apart.pop("classifier")
    np.testing.assert_allclose(both, tied["embedding"], atol=1e-6 * np.abs(both).max())
    for name in apart.keys() - {"embedding"}:
        np.testing.assert_array_equal(apart[name], tied[name])


def test_both_pipelines_agree(device: aneperf.Device) -> None:
    parameters, text = random_parameters(SMALL), tokens(1, SMALL)
    losses, gradients = [], []
    for pipeline, kernels in ((StaticPipeline, 12), (StaticAnePipeline, 19)):
        step = pipeline(device, SMALL, parameters)
        assert step.load_fixed() + step.load() == kernels
        gradients.append(empty_like(parameters))
        losses.append(step.step(text[:-1], text[1:], gradients[-1], loss_scale=64.0))
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    for name, value in gradients[0].items():
        assert np.linalg.norm(gradients[1][name] - value) < 0.02 * np.linalg.norm(value), name


def test_new_weights_after_loading_again(device: aneperf.Device) -> None:
    parameters = random_parameters(SMALL)
    text = tokens(1, SMALL)
    step = loaded(StaticPipeline, device, SMALL, parameters)
    old = step.step(text[:-1], text[1:], empty_like(parameters))
    for name, value in random_parameters(SMALL, seed=1).items():
        parameters[name][:] = value
    assert step.load() == 10
    fresh = loaded(StaticPipeline, device, SMALL, random_parameters(SMALL, seed=1))
    expected = fresh.step(text[:-1], text[1:], empty_like(parameters))
    assert step.step(text[:-1], text[1:], empty_like(parameters)) == expected != old


def test_components_of_a_step_do_not_overlap(device: aneperf.Device) -> None:
    parameters = random_parameters(SMALL)
    step = loaded(StaticPipeline, device, SMALL, parameters)
    text = tokens(1, SMALL)
    step.step(text[:-1], text[1:], empty_like(parameters))
    spans, products = step.take_spans()
    both = {f"{part}_{phase}" for part in ("ane", "cls", "elem", "io", "rms") for phase in ("fwd", "bwd")}
    assert {name for name, _, _ in spans} == both | {"cblas_wait_bwd"}
    for (_, _, end), (_, begin, _) in pairwise(spans):
        assert end <= begin
    assert len(products) == 7 * SMALL.layers + 1
    assert step.take_spans() == ([], [])


@PIPELINES
def test_each_gradient_raises_its_flag(device: aneperf.Device, pipeline: type[StaticPipeline]) -> None:
    parameters = random_parameters(SMALL)
    step, text = loaded(pipeline, device, SMALL, parameters), tokens(1, SMALL)
    flags = {name: np.zeros(1, np.int32) for name in parameters}
    step.step(text[:-1], text[1:], empty_like(parameters), flags=flags)
    assert [name for name, flag in flags.items() if not flag[0]] == []


def test_gradients_that_are_not_wanted_are_left_alone(device: aneperf.Device) -> None:
    """Repeat a step without some gradients, as after the loss of a worker: the others have the same bits."""
    parameters = random_parameters(SMALL)
    step, text = loaded(StaticPipeline, device, SMALL, parameters), tokens(1, SMALL)
    whole = empty_like(parameters)
    loss = step.step(text[:-1], text[1:], whole)
    for left in (["norm", "layers.1.w3"], ["embedding", "layers.0.rms1"], list(parameters)):
        part = {name: value for name, value in empty_like(parameters).items() if name not in left}
        assert step.step(text[:-1], text[1:], part) == loss
        for name, value in part.items():
            np.testing.assert_array_equal(value, whole[name], err_msg=name)
