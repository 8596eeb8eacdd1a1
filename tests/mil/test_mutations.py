"""Damaged programs and weights: an error that says so, or the right answer. Never a crash or a hang."""

import json
import random
import subprocess
import sys

import pytest

import aneperf
from support import environment, mutations
from support.mutations import PROGRAMS, is_refusal
from support.simd_levels import LEVELS


@pytest.fixture(scope="module")
def count(thorough):
    """Return how many damaged copies of each program there are."""
    return 1600 if thorough else 300


@pytest.mark.parametrize("name", PROGRAMS)
def test_mutated_text(device, name, count):
    itself, *damaged = mutations.outcomes(device, name, count)
    assert not is_refusal(itself)
    assert 0 < sum(map(is_refusal, damaged)) < len(damaged)


@pytest.mark.thorough
def test_mutated_text_gives_the_same_whatever_the_threads_and_the_simd_level(tmp_path, count):
    """Give the same bits for a text that still compiles, and refuse the others in the same words."""
    settings = {"default": {}, "serial": {"ANEPERF_THREADS": "1"}, "narrow": {"ANEPERF_SIMD": LEVELS[0]}}
    command = [sys.executable, "-m", "support.mutations", str(count)]
    runs = {
        name: subprocess.Popen([*command, tmp_path / name], env=environment(**variables))
        for name, variables in settings.items()
    }
    for run in runs.values():
        assert run.wait(timeout=600) == 0
    results = {name: json.loads((tmp_path / name).read_text()) for name in settings}
    assert results["serial"] == results["default"]
    # Narrow registers do not fuse the products of fp32 weights.
    for name in set(PROGRAMS) - {"fused attention"}:
        assert results["narrow"][name] == results["default"][name]


@pytest.mark.parametrize("lenient", [False, True])
def test_mutated_weights(device, lenient, count):
    program, rng = PROGRAMS["convolutions"], random.Random(lenient)
    for _ in range(count):
        weights = {path: bytearray(data) for path, data in program.weights.items()}
        data = weights[rng.choice(sorted(weights))]
        for _ in range(rng.choice([1, 1, 3])):
            data[rng.randrange(min(len(data), 160))] = rng.choice(
                [0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)]
            )
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        try:
            device.compile(program.text, weights, lenient_weights=lenient)
        except aneperf.CompileError as error:
            assert error.kind in ("InvalidWeights", "InvalidMILProgram")
            assert error.line
