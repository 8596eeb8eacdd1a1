"""Every SIMD level computes the same bits, but for products, which the BLAS library sums in its own order."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

import oracle
from programs import CONV_WEIGHT, GROUPED_WEIGHT, LINEAR_BIAS, LINEAR_WEIGHT, PRODUCTS, VECTORS, input_of
from test_determinism import results_with

# Each level with kernels of OpenBLAS that need no more of the CPU.
X86_LEVELS = {"baseline": "Nehalem", "avx2": "Haswell", "avx512": "SkylakeX"}
IS_X86_LINUX = platform.machine() in ("x86_64", "AMD64") and platform.system() == "Linux"
LEVELS = (
    X86_LEVELS if IS_X86_LINUX else {"neon" if platform.machine() in ("arm64", "aarch64") else "baseline": ""}
)


def open_emulator(level, core=""):
    """What a process says that opens the emulator at this level."""
    variables = {"ANEPERF_SIMD": level, **({"OPENBLAS_CORETYPE": core} if core else {})}
    command = [sys.executable, "-c", "import aneperf; print(aneperf.open('emulator').info())"]
    return subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def by_level(tmp_path_factory):
    """The varied programs' outputs at each level that this CPU has."""
    results = {}
    for level, core in LEVELS.items():
        if "no such SIMD level" in open_emulator(level, core).stderr:
            continue
        variables = {"ANEPERF_SIMD": level, **({"OPENBLAS_CORETYPE": core} if core else {})}
        results[level] = results_with(tmp_path_factory.mktemp(level), **variables)
    return results


def test_each_level_was_in_force(by_level):
    assert by_level
    for level, results in by_level.items():
        info = dict(line.split("=", 1) for line in results["info"])
        assert info["simd"] == level
        assert LEVELS[level] in info["gemm"]


def pairs(by_level, names):
    """Each output of the narrowest level with that of every other."""
    first, *others = by_level.values()
    for other in others:
        for key, array in first.items():
            if key.split("/")[0] in names:
                yield key.split("/")[0], array, other[key]


def test_vector_operations_have_the_same_bits_at_every_level(by_level):
    for _, narrow, wide in pairs(by_level, VECTORS):
        oracle.assert_same(narrow, wide)


EXPECTED = {
    "conv": lambda x: oracle.conv(x, CONV_WEIGHT, pad=(1, 1, 1, 1)),
    "grouped_conv": lambda x: oracle.conv(x, GROUPED_WEIGHT, strides=(2, 1), dilations=(1, 2), groups=4),
    "matmul": lambda x: oracle.matmul(x, x, transpose_x=True),
    "linear": lambda x: oracle.linear(x, LINEAR_WEIGHT, LINEAR_BIAS),
    "attention": lambda x: oracle.attention(x, x, x),
}


def test_products_are_within_one_fp16_step_at_every_level(by_level):
    error = {name: EXPECTED[name](input_of(name)).error for name in PRODUCTS}
    for name, narrow, wide in pairs(by_level, PRODUCTS):
        a, b = narrow.astype(np.float64), wide.astype(np.float64)
        # Beside the step, what fp32 sums in two orders may differ by: more than a step where they cancel.
        step = oracle.spacing(np.maximum(np.abs(a), np.abs(b)))
        assert (np.abs(a - b) <= step + 2 * error[name]).all(), name
        # Most sums are equally rounded, however they were added up.
        assert np.mean(a != b) < 0.02, name


def test_an_unknown_level_is_refused_with_those_there_are(by_level):
    probe = open_emulator("avx1024")
    assert probe.returncode != 0
    assert "ArgumentError: ANEPERF_SIMD=avx1024: " in probe.stderr
    assert "no such SIMD level" in probe.stderr
    assert all(level in probe.stderr for level in by_level)
