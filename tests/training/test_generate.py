"""Text generation: its logits and greedy tokens against a float64 forward pass, and its sampling."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import aneperf
from aneperf.kernels import TransformerConfig
from aneperf.training.generate import Decoder, generate
from aneperf.training.models import random_parameters
from support import small_model, stories260k

SMALL = TransformerConfig(dim=48, hidden=96, layers=2, heads=6, kv_heads=3, head_dim=8, vocab=96, seq=32)


@pytest.mark.parametrize(("separate", "qk_norm"), [(False, False), (True, True)])
def test_logits(separate: bool, qk_norm: bool) -> None:
    config = replace(SMALL, qk_norm=qk_norm)
    parameters = random_parameters(config)
    for name, value in parameters.items():
        if name.endswith(("q_norm", "k_norm")):
            value += np.linspace(-0.5, 1, SMALL.head_dim, dtype=np.float32)
    if separate:
        parameters["classifier"] = random_parameters(SMALL, seed=5)["embedding"]
    tokens = np.random.default_rng(1).integers(0, SMALL.vocab, SMALL.seq)
    decoder = Decoder(config, parameters)
    got = np.array([decoder.read(int(token)) for token in tokens])
    expected = small_model.logits(parameters, config, tokens)
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_greedy_tokens_of_a_trained_model() -> None:
    parameters, model = small_model.trained(), small_model.MODEL
    tokens = [0]
    while len(tokens) < model.seq:
        tokens.append(int(small_model.logits(parameters, model, np.array(tokens))[-1].argmax()))
    assert len(set(tokens)) > 5
    assert list(generate(model, parameters, tokens[:1], model.seq - 1)) == tokens[1:]


def test_greedy_tokens_of_stories260k() -> None:
    expected = stories260k.reference()["greedy_from_bos"]
    config, parameters = stories260k.model()
    assert list(generate(config, parameters, expected[:1], len(expected) - 1)) == expected[1:]
    decoder = Decoder(config, parameters)
    logits = [decoder.read(token) for token in expected[:-1]][-1]
    assert list(np.argsort(-logits)[:5]) == stories260k.reference()["greedy"]["last_logits_top5"]


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


def test_a_token_that_ends_a_text_is_the_last() -> None:
    parameters = random_parameters(SMALL)
    endless = list(generate(SMALL, parameters, [3], 20))
    assert len(endless) == 20
    for end in {endless[0], endless[7], endless[19]}:
        expected = endless[: endless.index(end) + 1]
        assert list(generate(SMALL, parameters, [3], 20, ends=(end, 95))) == expected
    assert list(generate(SMALL, parameters, [3], 20, ends=set(range(96)) - set(endless))) == endless


def test_the_end_of_the_sequence() -> None:
    parameters = random_parameters(SMALL)
    assert len(list(generate(SMALL, parameters, [1] * 30, 100))) == 3
    with pytest.raises(
        aneperf.ArgumentError, match="the prompt has 33 tokens, and the model takes sequences of 32"
    ):
        list(generate(SMALL, parameters, [1] * 33, 1))
    with pytest.raises(aneperf.ArgumentError, match="token 96 is not in the vocabulary of 96"):
        list(generate(SMALL, parameters, [96], 1))
    with pytest.raises(aneperf.ArgumentError, match="the prompt is empty"):
        list(generate(SMALL, parameters, [], 1))
    with pytest.raises(aneperf.ArgumentError, match="temperature other than 0 must be a number from 1e-06"):
        list(generate(SMALL, parameters, [1], 1, temperature=-1))
