"""Low-rank adapters: their gradients, what stays frozen, and the folders that PEFT reads."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.accounting import step_flops
from aneperf.training.checkpoint import CheckpointError, load_model
from aneperf.training.config import TrainingConfig
from aneperf.training.dynamic import DynamicPipeline
from aneperf.training.lora import AdaptedWeights, Adapter, Lora
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.optimizer import update
from aneperf.training.peft import check_adapters
from aneperf.training.pipeline import StaticAnePipeline, StaticPipeline
from aneperf.training.state import RunState, part_shapes, values_of
from support import hugging_face as hf
from support import small_model
from support.parameters import thorough
from support.training_runs import MODEL

# The queries have other channels than the model, so that a matrix and its transpose cannot be confused.
SMALL = TransformerConfig(
    dim=48, hidden=96, layers=2, heads=6, kv_heads=3, head_dim=16, vocab=96, seq=32, qk_norm=True
)
LORA = Lora(rank=4, alpha=6.0, targets=("q", "k", "v", "o", "gate", "up", "down"))
PIPELINES = pytest.mark.parametrize("pipeline", [StaticPipeline, StaticAnePipeline, DynamicPipeline])
SCALE = 4096.0


def adapters(lora: Lora, model: TransformerConfig, seed: int = 0) -> Parameters:
    """Return adapters whose B is random too, as after some updates."""
    random = np.random.default_rng(seed)
    return {
        name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in lora.shapes(model).items()
    }


def tokens(seed: int, model: TransformerConfig) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, model.vocab, model.seq + 1)


def step_of(
    pipeline: type[StaticPipeline], device: aneperf.Device, weights: Any, model: TransformerConfig = SMALL
) -> StaticPipeline:
    step = pipeline(device, model, weights)
    step.load_fixed()
    step.load()
    return step


def merged(frozen: Parameters, values: Parameters, lora: Lora) -> Parameters:
    """Return W + alpha / rank * B A in float64, from the definition."""
    result = {name: value.astype(np.float64) for name, value in frozen.items()}
    for name in {name.rpartition(".")[0] for name in values}:
        a, b = (values[f"{name}.lora_{factor}"].astype(np.float64) for factor in "AB")
        result[name] += lora.alpha / lora.rank * (b @ a)
    return result


def test_initial_adapters_leave_the_model_as_it_is() -> None:
    values = LORA.initial(SMALL, seed=3)
    assert {name: value.shape for name, value in values.items()} == LORA.shapes(SMALL)
    assert len(values) == 2 * 7 * SMALL.layers
    for name, value in values.items():
        if name.endswith("lora_B"):
            assert not value.any()
        else:  # PEFT's Kaiming initialization with a = sqrt(5)
            bound = value.shape[1] ** -0.5
            assert 0.9 * bound < np.abs(value).max() <= bound
            assert abs(value.mean()) < 0.2 * bound
    again, other = LORA.initial(SMALL, seed=3), LORA.initial(SMALL, seed=4)
    a = "layers.0.wq.lora_A"
    np.testing.assert_array_equal(values[a], again[a])
    assert not np.array_equal(values[a], other[a])
    assert not np.array_equal(values[a], values["layers.1.wq.lora_A"])
    frozen = random_parameters(SMALL)
    weights = AdaptedWeights(LORA, frozen, values)
    assert list(weights) == list(frozen)
    for name, value in frozen.items():
        np.testing.assert_array_equal(weights[name], value)


@PIPELINES
def test_gradients_are_the_chain_rule_of_the_whole_gradient(
    device: aneperf.Device, pipeline: type[StaticPipeline]
) -> None:
    lora = replace(LORA, targets=("q", "k", "v", "o", "gate", "down"))
    frozen, values, text = random_parameters(SMALL), adapters(lora, SMALL), tokens(1, SMALL)
    weights = AdaptedWeights(lora, frozen, values)
    for name, value in merged(frozen, values, lora).items():
        np.testing.assert_allclose(weights[name], value, atol=1e-6)
    whole = {name: np.empty_like(value) for name, value in frozen.items()}
    expected = step_of(pipeline, device, dict(weights)).step(text[:-1], text[1:], whole, loss_scale=SCALE)

    step = step_of(pipeline, device, weights)
    first, total = ({name: np.full_like(v, np.nan) for name, v in values.items()} for _ in range(2))
    for gradients, base in ((first, None), (total, first)):
        loss = step.step(text[:-1], text[1:], gradients, base=base, loss_scale=SCALE)
        assert loss == expected
    _, products = step.take_spans()
    assert len(products) == 2 * len(weights.adapters)  # of two steps, and none of a whole weight
    scale = lora.alpha / lora.rank
    for name in weights.adapters:
        dw = whole[name].astype(np.float64)
        a, b = values[f"{name}.lora_A"], values[f"{name}.lora_B"]
        for factor, exact in (("A", scale * b.T @ dw), ("B", scale * dw @ a.T)):
            got = first[f"{name}.lora_{factor}"]
            assert np.linalg.norm(got - exact) < 1e-5 * np.linalg.norm(exact), name
            both = total[f"{name}.lora_{factor}"]
            assert np.linalg.norm(both - 2 * exact) < 2e-5 * np.linalg.norm(exact), name


def test_gradients_are_slopes_of_the_loss(device: aneperf.Device) -> None:
    """Compare with differences of a float64 loss along each gradient."""
    model = replace(SMALL, layers=1)
    # Weights of three times the usual size, or attention is even and q and k have no influence.
    frozen = {n: value if value.ndim == 1 else 3 * value for n, value in random_parameters(model).items()}
    values, text = adapters(LORA, model), tokens(1, model)
    gradients = {name: np.full_like(value, np.nan) for name, value in values.items()}
    step = step_of(DynamicPipeline, device, AdaptedWeights(LORA, frozen, values), model)
    loss = step.step(text[:-1], text[1:], gradients, loss_scale=SCALE)
    assert loss == pytest.approx(small_model.loss(merged(frozen, values, LORA), model, text), rel=1e-3)
    for name, scaled in gradients.items():
        gradient = scaled.astype(np.float64) / SCALE
        norm = np.linalg.norm(gradient)
        above, below = (
            small_model.loss(
                merged(frozen, values | {name: values[name] + move * gradient / norm}, LORA), model, text
            )
            for move in (1e-4, -1e-4)
        )
        assert (above - below) / 2e-4 == pytest.approx(norm, rel=0.03), name


@pytest.mark.parametrize("pipeline", [StaticPipeline, *thorough(StaticAnePipeline, DynamicPipeline)])
def test_new_weights_are_merged_once(
    plain: aneperf.Device, monkeypatch: pytest.MonkeyPatch, pipeline: type[StaticPipeline]
) -> None:
    merged, count = Adapter.merged, 0

    def counted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return merged(*arguments)

    step = step_of(pipeline, plain, AdaptedWeights(LORA, random_parameters(SMALL), adapters(LORA, SMALL)))
    monkeypatch.setattr(Adapter, "merged", counted)
    step.load()
    assert count == len(LORA.targets) * SMALL.layers


@pytest.mark.parametrize("pipeline", ["dynamic", *thorough("static")])
def test_a_run_trains_adapters_alone_and_resumes_exactly(train: Any, tmp_path: Path, pipeline: str) -> None:
    data = tmp_path / "tokens.bin"
    np.random.default_rng(0).integers(5, 30, 500).astype("<u2").tofile(data)
    options = {
        "pipeline": pipeline,
        "data": data,
        "compact_vocabulary": pipeline == "dynamic",
        "lora_rank": 4,
        "lora_alpha": 6.0,
        "lora_targets": "v,q,down",
        "clip": 1.0,
        "weight_decay": 0.1,
    }
    whole = train(**options)
    assert (whole.config.lora_targets, whole.config.lora) == ("q,v,down", Lora(4, 6.0, ("q", "v", "down")))
    assert all("/lora-4-alpha-6-q-v-down" in row.key for row in whole.to_result().rows)
    frozen = random_parameters(MODEL, seed=whole.config.seed)
    expected = merged(frozen, whole.adapters, whole.config.lora)
    for name, value in whole.parameters.items():
        if name.endswith(("wq", "wv", "w2")):
            assert not np.array_equal(value, frozen[name])
            np.testing.assert_allclose(value, expected[name], atol=1e-6)
        else:
            np.testing.assert_array_equal(value, frozen[name])

    folder = tmp_path / "c"
    first = train(**options, steps=6, checkpoints=folder)
    for name, value in load_model(folder)[1].items():
        np.testing.assert_array_equal(value, first.parameters[name])
    with pytest.raises(CheckpointError, match=r"lora_rank is 3, was 4; lora_alpha is 6\.5, was 6\.0"):
        train(**{**options, "lora_rank": 3, "lora_alpha": 6.5}, checkpoints=folder, resume=True)
    with pytest.raises(CheckpointError, match=r"of another run: .*lora_rank is None, was 4"):
        aneperf.train(checkpoints=folder, resume=True, lora_rank=None)
    rest = train(checkpoints=folder, resume=True)  # with the options of its run
    assert first.losses + rest.losses == whole.losses
    assert rest.adapters.keys() == whole.adapters.keys()
    for name, value in whole.adapters.items():
        np.testing.assert_array_equal(value, rest.adapters[name])
        assert value.any()


def test_the_optimizer_holds_moments_of_adapters_alone() -> None:
    config = TrainingConfig(SMALL, lora_rank=4)
    shapes = part_shapes(config, separate_classifier=False)
    values = sum(value.size for value in LORA.initial(SMALL, 0).values())
    model = sum(value.size for value in random_parameters(SMALL).values())
    assert values_of(shapes) == model + 5 * values
    assert values_of(part_shapes(TrainingConfig(SMALL), separate_classifier=False)) == 5 * model


def test_norms_of_gradients_are_those_of_adapters() -> None:
    config = TrainingConfig(SMALL, lora_rank=4, loss_scale=1.0)
    values = LORA.initial(SMALL, 0)
    gradients = {name: np.full_like(value, 0.5) for name, value in values.items()}
    moments = {part: {n: np.zeros_like(v) for n, v in values.items()} for part in ("mean", "variance")}
    done = update(config, RunState(loss_scale=1.0), {"parameters": values, **moments}, gradients, 1)
    sizes = {
        group: sum(value.size for name, value in values.items() if name.split(".")[2][1] in kinds)
        for group, kinds in (("attn", "qkvo"), ("ffn", "123"))
    }
    assert done.gradient_norm == pytest.approx(0.5 * sum(sizes.values()) ** 0.5)
    norms = {group: 0.5 * size**0.5 for group, size in sizes.items()}
    assert done.norms == pytest.approx(norms | {"embed": 0})


def test_operations_are_those_without_gradients_of_weights() -> None:
    whole, adapted = step_flops(SMALL, "dynamic"), step_flops(SMALL, "dynamic", LORA)
    assert adapted.device == whole.device
    layer = [(96, 48), (48, 48), (48, 48), (48, 96), (96, 48), (48, 96), (96, 48)]
    weights = SMALL.layers * sum(a * b for a, b in layer) + SMALL.vocab * SMALL.dim
    factors = SMALL.layers * sum(2 * LORA.rank * (a + b) for a, b in layer)
    assert whole.total - adapted.total == 2 * SMALL.seq * (weights - factors)


@pytest.mark.parametrize("config", [hf.QWEN3, *thorough(hf.LLAMA)], ids=["qwen3", "llama"])
def test_a_folder_for_peft_adds_up_to_the_merged_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any
) -> None:
    """Add the saved B A to the tensors of the initial folder, as PEFT does."""
    monkeypatch.chdir(tmp_path)
    arrays = hf.tensors(config)
    start = hf.write(tmp_path / "model", config, arrays)
    result = aneperf.train(
        weights=start.name,
        device="emulator",
        pipeline="dynamic",
        steps=2,
        accumulation=1,
        learning_rate=0.05,
        lora_rank=2,
        lora_alpha=3,
    )
    result.save_lora(tmp_path / "lora")
    result.save_hugging_face(tmp_path / "merged")
    assert sorted(path.name for path in (tmp_path / "lora").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    settings = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert (settings["peft_type"], settings["r"], settings["lora_alpha"]) == ("LORA", 2, 3)
    assert settings["base_model_name_or_path"] == str(start)
    names = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert set(settings["target_modules"]) == names
    saved = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    model = load_file(tmp_path / "merged" / "model.safetensors")
    assert len(saved) == 2 * 7 * config["num_hidden_layers"]
    for name, value in arrays.items():
        stored = f"base_model.model.{name.removesuffix('weight')}"
        if f"{stored}lora_A.weight" not in saved:
            np.testing.assert_array_equal(model[name], value)
            continue
        a, b = (saved.pop(f"{stored}lora_{factor}.weight").astype(np.float64) for factor in "AB")
        assert np.abs(b @ a).max() > 1e-3
        np.testing.assert_allclose(model[name], value + 1.5 * (b @ a), atol=1e-6)
    assert not saved


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora_rank": 0}, "lora_rank must be an integer from 1 to 65536, not 0"),
        ({"lora_rank": 17}, r"lora_rank must be at most 16, the rank of k \[16, 32\], not 17"),
        ({"lora_rank": 4, "lora_alpha": float("nan")}, "lora_alpha must be a number from 1e-30 to 1e"),
        ({"lora_rank": 4, "lora_alpha": float("inf")}, "lora_alpha must be a number from 1e-30 to 1e"),
        ({"lora_rank": 4, "lora_targets": "q,x"}, "lora_targets must be names from q,k,v,.*not 'x'"),
        ({"lora_rank": 4, "lora_targets": ""}, "lora_targets must be names from q,k,v,.*not ''"),
        ({"lora_rank": 4, "lora_targets": ["q"]}, r"lora_targets must be names from .*not \['q'\]"),
        ({"lora_alpha": 8.0}, "lora_alpha needs lora_rank"),
        ({"lora_targets": "q"}, "lora_targets needs lora_rank"),
        ({"lora_rank": 4, "as_published": True}, "as_published goes without lora_rank: the published runs"),
    ],
)
def test_what_no_run_can_adapt_is_refused(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(aneperf.ArgumentError, match=message):
        aneperf.train(MODEL, device="emulator", checkpoints=tmp_path / "c", **options)
    assert not list(tmp_path.iterdir())


def test_a_run_without_adapters_has_none_to_save() -> None:
    with pytest.raises(
        aneperf.ArgumentError, match=r"without lora_rank \(--lora-rank\) there are no adapters"
    ):
        check_adapters(TrainingConfig(MODEL))
