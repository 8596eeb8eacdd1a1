"""Sampling: against a real model's greedy tokens, and against the training step's own logits."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.generate import Decoder, generate
from aneperf.training.llama2c import load_llama2c
from aneperf.training.models import random_parameters
from aneperf.training.pipeline import StaticPipeline

DATA = Path(__file__).parents[3] / "shared" / "data"
SMALL = TransformerConfig(dim=48, hidden=96, layers=2, heads=6, kv_heads=3, head_dim=8, vocab=96, seq=32)


def test_greedy_tokens_of_a_real_model() -> None:
    if not (DATA / "stories260K.bin").exists():
        pytest.skip("the reference model is not on this machine")
    config, parameters = load_llama2c(DATA / "stories260K.bin")
    expected = json.loads((DATA / "stories260K_reference.json").read_text())["greedy_from_bos"]
    assert list(generate(config, parameters, expected[:1], len(expected) - 1)) == expected[1:]


@pytest.mark.parametrize("separate", [False, True])
def test_the_decoder_agrees_with_the_device(device: aneperf.Device, separate: bool) -> None:
    parameters = random_parameters(SMALL)
    if separate:
        parameters["classifier"] = random_parameters(SMALL, seed=5)["embedding"]
    tokens = np.random.default_rng(1).integers(0, SMALL.vocab, SMALL.seq)
    step = StaticPipeline(device, SMALL, parameters)
    step.load_fixed()
    step.load()
    expected = step.logits(tokens)
    decoder = Decoder(SMALL, parameters)
    for position, token in enumerate(tokens):
        got = decoder.read(int(token))
        assert np.abs(got - expected[:, position]).max() < 0.01 * np.abs(expected[:, position]).max()


def test_sampling() -> None:
    parameters = random_parameters(SMALL)
    logits = Decoder(SMALL, parameters).read(3).astype(np.float64) / 0.05
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    drawn = Counter(
        next(generate(SMALL, parameters, [3], 1, temperature=0.05, seed=seed)) for seed in range(400)
    )
    for token, count in drawn.most_common(3):
        assert count / 400 == pytest.approx(probabilities[token], abs=0.08)
    best = int(np.argmax(probabilities))
    narrow = {
        next(generate(SMALL, parameters, [3], 1, temperature=0.05, top_p=1e-9, seed=s)) for s in range(50)
    }
    assert narrow == {best}
    again = [list(generate(SMALL, parameters, [3], 9, temperature=1.0, seed=7)) for _ in range(2)]
    assert again[0] == again[1]


def test_the_end_of_the_sequence() -> None:
    parameters = random_parameters(SMALL)
    assert len(list(generate(SMALL, parameters, [1] * 30, 100))) == 3
    with pytest.raises(aneperf.ArgumentError, match="sequences of 32 tokens, and that many were read"):
        list(generate(SMALL, parameters, [1] * 33, 1))
    with pytest.raises(aneperf.ArgumentError, match="token 96 is not in the vocabulary of 96"):
        list(generate(SMALL, parameters, [96], 1))
    with pytest.raises(aneperf.ArgumentError, match="the prompt is empty"):
        list(generate(SMALL, parameters, [], 1))
    with pytest.raises(aneperf.ArgumentError, match="temperature is at least 0"):
        list(generate(SMALL, parameters, [1], 1, temperature=-1))
