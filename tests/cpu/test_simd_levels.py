"""Every SIMD level computes the same bits: a product of two fp16 is exact in fp32, with or without fusion.

Only attention multiplies fp32 weights, which the x86-64 baseline cannot fuse.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from support import environment, oracle, product_edges
from support.processes import results_with
from support.programs import PRODUCTS, VECTORS, input_of
from support.simd_levels import LEVELS


def open_emulator(level):
    """Open the emulator at this level in a process of its own, and return that process's end."""
    command = [sys.executable, "-c", "import aneperf; print(aneperf.open('emulator').info())"]
    return subprocess.run(
        command,
        env={**os.environ, "ANEPERF_SIMD": level},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def levels():
    """Return the levels that this CPU has."""
    return [level for level in LEVELS if "no such SIMD level" not in open_emulator(level).stderr]


@pytest.fixture(scope="module")
def by_level(levels, tmp_path_factory):
    """Return the varied programs' outputs at each level."""
    return {level: results_with(tmp_path_factory.mktemp(level), ANEPERF_SIMD=level) for level in levels}


def test_each_level_was_in_force(by_level):
    assert by_level
    for level, results in by_level.items():
        info = dict(line.split("=", 1) for line in results["info"])
        assert info["simd"] == level
        assert info["gemm"] == f"aneperf {level}"


def pairs(by_level, names):
    """Pair each output of the narrowest level with that of every other."""
    first, *others = by_level.values()
    for other in others:
        for key, array in first.items():
            if key.split("/")[0] in names:
                yield key.split("/")[0], array, other[key]


def test_operations_have_the_same_bits_at_every_level(by_level):
    for _, narrow, wide in pairs(by_level, {*VECTORS, *PRODUCTS} - {"attention"}):
        oracle.assert_same(narrow, wide)


def test_attention_is_within_one_fp16_step_at_every_level(by_level):
    x = input_of("attention")
    error = oracle.attention(x, x, x).error
    for _, narrow, wide in pairs(by_level, {"attention"}):
        a, b = narrow.astype(np.float64), wide.astype(np.float64)
        # Beside the step, what fp32 sums may differ by with and without fusion: more where they cancel.
        step = oracle.spacing(np.maximum(np.abs(a), np.abs(b)))
        assert (np.abs(a - b) <= step + 2 * error).all()
        # Most sums are equally rounded, fused or not.
        assert np.mean(a != b) < 0.02


@pytest.fixture(scope="module")
def every(thorough):
    """Return of how many extents one is used."""
    return 1 if thorough else 8


def edges_with(folder, every, **variables):
    """Compute products at the edges of tiles, in a process of their own."""
    path = folder / "edges.npz"
    command = [sys.executable, "-m", "support.product_edges", str(every), path]
    subprocess.run(command, check=True, timeout=300, env=environment(**variables))
    with np.load(path) as file:
        return dict(file)


@pytest.fixture(scope="module")
def edges(levels, tmp_path_factory, every):
    return {level: edges_with(tmp_path_factory.mktemp(level), every, ANEPERF_SIMD=level) for level in levels}


def test_products_at_the_edges_of_tiles_are_right(edges, every):
    widest = list(edges.values())[-1]
    for name, case in product_edges.cases(every).items():
        for chip in product_edges.CHIPS:
            if name.startswith("attention") and chip != "none":
                continue  # products and a softmax, each of which is checked elsewhere
            try:
                case.check(chip, widest[f"{chip} {name}"])
            except AssertionError as error:
                raise AssertionError(f"{name} on {chip}: {error}") from error


def test_products_at_the_edges_of_tiles_have_the_same_bits_at_every_level(edges):
    fused = {level: results for level, results in edges.items() if level != "baseline"}
    for name in next(iter(edges.values())):
        same = fused if name.startswith("none attention") else edges
        first, *others = (results[name] for results in same.values())
        for other in others:
            oracle.assert_same(first, other)


def test_products_do_not_depend_on_the_number_of_threads(edges, tmp_path, every):
    widest = list(edges.values())[-1]
    results = edges_with(tmp_path, every, ANEPERF_THREADS="1")
    for name, array in results.items():
        oracle.assert_same(array, widest[name])


def test_an_unknown_level_is_refused_with_those_there_are(by_level):
    probe = open_emulator("avx1024")
    assert probe.returncode != 0
    assert "ArgumentError: ANEPERF_SIMD=avx1024: " in probe.stderr
    assert "no such SIMD level" in probe.stderr
    assert all(level in probe.stderr for level in by_level)
