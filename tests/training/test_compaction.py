"""Training on the tokens of the data: against the whole model in float64, with a softmax over these."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.training.checkpoint import CheckpointError, Checkpoints
from aneperf.training.compaction import Rows, compact
from aneperf.training.data import SyntheticTokens, TokenFile
from aneperf.training.evaluation import Evaluation
from aneperf.training.llama2c import save_llama2c
from aneperf.training.models import Parameters, random_parameters
from aneperf.training.pipeline import StaticPipeline
from support import small_model
from support.parameters import thorough
from support.training_runs import MODEL

USED = np.array([1, 2, 7, 8, 30, 31, 62])
Train = Callable[..., aneperf.TrainingResult]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    USED[np.random.default_rng(1).integers(0, len(USED), 400)].astype("<u2").tofile(tmp_path / "t.bin")
    return tmp_path / "t.bin"


def initial(separate: bool) -> Parameters:
    parameters = random_parameters(MODEL)
    return parameters | ({"classifier": random_parameters(MODEL, 9)["embedding"]} if separate else {})


def reference(parameters: Parameters, text: np.ndarray) -> float:
    """Return the loss of the whole model on text [seq + 1], with a softmax over the tokens in use."""
    logits = small_model.logits(parameters, MODEL, text[:-1])
    used = logits[:, USED]
    highest = used.max(axis=-1)
    total = highest + np.log(np.exp(used - highest[:, None]).sum(axis=-1))
    return float((total - logits[np.arange(len(text) - 1), text[1:]]).mean())


def others(array: np.ndarray) -> np.ndarray:
    """Return the rows that no token of the data has."""
    return np.delete(array, USED, axis=0)


@pytest.mark.parametrize("separate", [False, True], ids=["tied", "separate"])
def test_loss_and_gradients_are_those_of_the_whole_model(
    device: aneperf.Device, path: Path, separate: bool
) -> None:
    parameters = initial(separate)
    for name in ("embedding", "classifier"):
        if name in parameters:
            parameters[name] *= 30  # or all tokens are as likely
    data = TokenFile(path, MODEL.vocab, MODEL.seq, seed=0)
    text = data.sequence(0)
    assert compact(data).tolist() == USED.tolist()
    np.testing.assert_array_equal(USED[data.sequence(0)], text)
    rows = Rows(parameters, USED)
    few = rows.gather(parameters)
    step = StaticPipeline(device, replace(MODEL, vocab=len(USED)), few)
    step.load_fixed()
    step.load()
    gradients = {name: np.full_like(value, np.nan) for name, value in few.items()}
    numbered = data.sequence(0)
    loss = step.step(numbered[:-1], numbered[1:], gradients, loss_scale=4096.0)
    assert loss == pytest.approx(reference(parameters, text), rel=1e-3)
    for name, scattered in rows.scatter("mean", gradients).items():
        gradient = scattered.astype(np.float64) / 4096
        assert gradient.shape == parameters[name].shape
        norm = np.linalg.norm(gradient)
        above, below = (
            reference(parameters | {name: parameters[name] + move * gradient / norm}, text)
            for move in (1e-4, -1e-4)
        )
        assert (above - below) / 2e-4 == pytest.approx(norm, rel=0.03), name
    for name in {"embedding", "classifier"} & parameters.keys():
        assert not others(rows.scatter("mean", gradients)[name]).any()


@pytest.mark.parametrize(
    "case",
    ["dynamic separate", *thorough("static tied", "static-ane separate", "dynamic tied")],
)
def test_other_rows_stay_as_they_are_and_a_resumed_run_has_the_same_bits(
    train: Train, path: Path, tmp_path: Path, case: str
) -> None:
    pipeline, _, matrices = case.partition(" ")
    parameters = initial(matrices == "separate")
    save_llama2c(tmp_path / "m.bin", MODEL, parameters)
    options: dict[str, Any] = {
        "model": None,
        "data": path,
        "pipeline": pipeline,
        "compact_vocabulary": True,
        "weight_decay": 0.1,
    }
    whole = train(**options, weights=tmp_path / "m.bin")
    plain = train(**{**options, "compact_vocabulary": False}, weights=tmp_path / "m.bin")
    text = TokenFile(path, MODEL.vocab, MODEL.seq, seed=4).sequence(0)
    assert whole.losses[0] == pytest.approx(reference(parameters, text), rel=1e-3)
    assert plain.losses[0] == pytest.approx(small_model.loss(parameters, MODEL, text), rel=1e-3)
    for name in {"embedding", "classifier"} & parameters.keys():
        np.testing.assert_array_equal(others(whole.parameters[name]), others(parameters[name]))
        assert (whole.parameters[name][USED] != parameters[name][USED]).any(axis=1).all()
        assert (others(plain.parameters[name]) != others(parameters[name])).any()  # by the decay

    first = train(**options, weights=tmp_path / "m.bin", steps=6, checkpoints=tmp_path / "c")
    rest = train(**options, checkpoints=tmp_path / "c", resume=True)
    assert first.losses + rest.losses == whole.losses
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(rest.parameters[name], value, err_msg=name)
    saved = Checkpoints(tmp_path / "c").open().parts
    for part, arrays in saved.items():
        assert arrays["embedding"].shape == (MODEL.vocab, MODEL.dim)
        assert others(arrays["embedding"]).any() == (part == "parameters")
        assert arrays["embedding"][USED].any()
    with pytest.raises(CheckpointError, match="compact_vocabulary is False, was True"):
        train(**{**options, "compact_vocabulary": False}, steps=15, checkpoints=tmp_path / "c", resume=True)


def test_nothing_changes_where_all_tokens_are_in_use(train: Train, tmp_path: Path) -> None:
    np.tile(np.arange(MODEL.vocab), 9).astype("<u2").tofile(tmp_path / "t.bin")
    one, other = (train(data=tmp_path / "t.bin", compact_vocabulary=compact) for compact in (False, True))
    assert one.losses == other.losses
    for name, value in one.parameters.items():
        np.testing.assert_array_equal(other.parameters[name], value)


def test_random_weights_are_those_of_the_whole_model(train: Train, path: Path) -> None:
    told = {"data": path, "compact_vocabulary": True, "steps": 1, "accumulation": 1}
    result = train(**told, seed=4)
    assert result.vocab == len(USED)
    assert result.config.model == MODEL
    text = TokenFile(path, MODEL.vocab, MODEL.seq, seed=4).sequence(0)
    assert result.losses[0] == pytest.approx(reference(random_parameters(MODEL, 4), text), rel=1e-3)
    assert result.flops.total == train(**told, model=replace(MODEL, vocab=63), seed=4).flops.total
    assert "the loss is over the 7 of 64 tokens that the data has" in str(result)


def test_validation_is_over_the_same_tokens(train: Train, path: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "held_out.bin"
    np.tile(USED[:4], 30).astype("<u2").tofile(held_out)
    told = {"data": path, "compact_vocabulary": True, "eval_data": held_out, "steps": 3, "eval_sequences": 99}
    result = train(**told)
    data = TokenFile(held_out, MODEL.vocab, MODEL.seq, seed=0)
    expected = np.mean(
        [reference(result.parameters, text) for text in Evaluation(data, sequences=99, every=1)]
    )
    assert result.validations[-1].loss == pytest.approx(expected, rel=1e-3)
    np.array([*USED, 9] * 3, "<u2").tofile(held_out)
    with pytest.raises(
        aneperf.ArgumentError, match=r"held_out\.bin: the token 9 does not occur in the data that is trained"
    ):
        train(**told)


def test_adapters_are_trained_over_the_same_tokens(train: Train, path: Path, tmp_path: Path) -> None:
    told = {"data": path, "compact_vocabulary": True, "seed": 4, "lora_rank": 2}
    whole = train(**told, steps=6)
    text = TokenFile(path, MODEL.vocab, MODEL.seq, seed=4).sequence(0)
    before = random_parameters(MODEL, 4)
    assert whole.losses[0] == pytest.approx(reference(before, text), rel=1e-3)
    np.testing.assert_array_equal(whole.parameters["embedding"], before["embedding"])
    assert (whole.parameters["layers.0.wq"] != before["layers.0.wq"]).any()
    train(**told, steps=3, checkpoints=tmp_path / "c")
    rest = train(checkpoints=tmp_path / "c", resume=True, steps=6)
    assert rest.losses == whole.losses[3:]


def test_what_is_not_compacted(train: Train) -> None:
    with pytest.raises(aneperf.ArgumentError, match="compact_vocabulary needs a file of tokens as data"):
        train(compact_vocabulary=True)
    with pytest.raises(aneperf.ArgumentError, match="compact_vocabulary needs a file of tokens as data"):
        compact(SyntheticTokens(64, 16, 0))
