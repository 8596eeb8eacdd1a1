"""Options and weights that no run can use, refused before it begins."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aneperf
from aneperf.bounds import LOSS_SCALE
from aneperf.training.data import SyntheticTokens
from aneperf.training.generate import Decoder, generate
from aneperf.training.llama2c import save_llama2c
from aneperf.training.models import random_parameters
from aneperf.training.optimizer import update
from aneperf.training.state import RunState
from aneperf.training.trainer import Trainer
from support.training_runs import CONFIG, MODEL


@pytest.mark.parametrize("name", ["steps", "accumulation", "warmup", "seed"])
def test_counts_are_bounded(name: str) -> None:
    for value in (10**20, 10**400, -1, True, 1.5, "3"):
        with pytest.raises(aneperf.ArgumentError, match=f"{name} must be an integer from"):
            replace(CONFIG, **{name: value})


@pytest.mark.parametrize(
    "name",
    ["loss_scale", "learning_rate", "epsilon", "clip", "weight_decay", "final_rate", "beta1", "beta2"],
)
def test_factors_are_bounded(name: str) -> None:
    tiny = [] if name in ("weight_decay", "final_rate", "beta1", "beta2") else [5e-324, 0.0]
    for value in (*tiny, 1e308, 10**400, math.nan, math.inf, -1.0, True, "1"):
        with pytest.raises(aneperf.ArgumentError, match=f"{name} must be a number from"):
            replace(CONFIG, **{name: value})


def test_a_gradient_that_stays_infinite_ends_the_run() -> None:
    parameters = {"norm": np.ones(3, np.float32)}
    parts = {part: {"norm": np.ones(3, np.float32)} for part in ("parameters", "mean", "variance")}
    gradients = {"norm": np.full(3, np.nan, np.float32)}
    state = RunState(4 * LOSS_SCALE[0])
    for scale in (2, 1):
        assert not update(CONFIG, state, parts, gradients, 1).applied
        assert state.loss_scale == scale * LOSS_SCALE[0]
    with pytest.raises(aneperf.AneError, match=r"even at a loss scale of 5.96046e-08: training has"):
        update(CONFIG, state, parts, gradients, 1)
    np.testing.assert_array_equal(parts["parameters"]["norm"], parameters["norm"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "layers.0.wq has 1 value that is not finite"),
        (7e4, "layers.0.wq has 1 value that is beyond 65504"),
    ],
)
def test_weights_that_the_engine_cannot_hold_are_named_before_work_begins(
    tmp_path: Path, value: float, message: str
) -> None:
    parameters = random_parameters(MODEL)
    path = tmp_path / "model.bin"
    save_llama2c(path, MODEL, parameters)
    content = bytearray(path.read_bytes())
    place = content.find(parameters["layers.0.wq"].tobytes())
    content[place : place + 4] = np.float32(value).tobytes()
    path.write_bytes(content)
    began = []
    with pytest.raises(aneperf.ArgumentError, match=message):
        aneperf.train(weights=path, steps=1, device="emulator", progress=began.append)
    assert began == []


def test_generating_from_weights_that_are_not_finite_or_overflow() -> None:
    parameters = random_parameters(MODEL)
    for temperature in (0.0, 0.7):
        for value in (np.nan, np.inf):
            bad = {**parameters, "norm": np.full_like(parameters["norm"], value)}
            with pytest.raises(aneperf.ArgumentError, match="norm has 32 values that are not finite"):
                list(generate(MODEL, bad, [1], 3, temperature=temperature))
        for name in ("embedding", "norm", "layers.1.w2"):
            large = {**parameters, name: 3e38 * np.sign(parameters[name])}
            with pytest.raises(aneperf.ArgumentError, match=r"fp32 overflows at token [01]: the weights are"):
                list(generate(MODEL, large, [1], 3, temperature=temperature))


def test_sequences_whose_scores_do_not_fit_are_refused() -> None:
    config = replace(CONFIG, model=replace(MODEL, seq=1 << 20))
    with pytest.raises(aneperf.ArgumentError, match=r"of 1048576 tokens takes \d+ MiB, and \d+ MiB are free"):
        Trainer(config, random_parameters(config.model), SyntheticTokens(64, 1 << 20, seed=0))


def test_generation_keeps_as_many_keys_as_it_needs() -> None:
    long = replace(MODEL, seq=1 << 20, layers=1)
    parameters = random_parameters(long)
    assert len(list(generate(long, parameters, [1, 2], 3))) == 3
    layers = replace(long, layers=512, kv_heads=long.heads)
    wide = {**random_parameters(layers)}
    with pytest.raises(aneperf.ArgumentError, match=r"1048576 tokens takes \d+ MiB, and \d+ MiB are free"):
        Decoder(layers, wide)


@pytest.mark.parametrize("temperature", [5e-324, 1e308, math.nan, math.inf, -1.0, "1"])
def test_temperatures_are_bounded(temperature: float) -> None:
    with pytest.raises(aneperf.ArgumentError, match="a temperature other than 0 must be a number from"):
        list(generate(MODEL, random_parameters(MODEL), [1], 3, temperature=temperature))


@pytest.mark.parametrize("top_p", [0.0, -1.0, 1.1, math.nan])
def test_top_p_is_a_share(top_p: float) -> None:
    with pytest.raises(aneperf.ArgumentError, match="top_p must be above 0 and at most 1, not "):
        list(generate(MODEL, random_parameters(MODEL), [1], 3, temperature=1.0, top_p=top_p))
