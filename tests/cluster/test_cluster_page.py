"""docs/cluster.md: what it calculates follows from its formulas."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aneperf.chips import summaries
from aneperf.kernels.config import parameter_count
from aneperf.kernels.presets import PRESETS

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
CALCULATED = PAGE[PAGE.index("## When it does not pay") :]
STEPS = {"stories110m": ("static", 106.7), "qwen3-0.6b": ("dynamic", 412.0)}


def _rows(pattern: str) -> list[re.Match[str]]:
    return list(re.finditer(rf"^\| {pattern} \|$", CALCULATED, re.MULTILINE))


def _rates() -> list[float]:
    return [float(rate) for rate in re.findall(r"([0-9.]+) Gbit/s \|", CALCULATED)[:4]]


def _allreduce_ms(model: str, gbit_per_s: float) -> float:
    return 4 * parameter_count(PRESETS[model]) * 8 / (gbit_per_s * 1e6)


def test_the_times_of_an_allreduce() -> None:
    rows = _rows(r"([\w.-]+), ([\d,]+) MB \| (.*)")
    assert len(rows) == 3
    for row in rows:
        model, size, times = row.groups()
        assert size == f"{4 * parameter_count(PRESETS[model]) * 1e-6:,.0f}"
        assert times.split(" | ") == [f"{_allreduce_ms(model, rate):,.0f} ms" for rate in _rates()]


def test_the_speedup_of_two_ranks() -> None:
    rows = _rows(r"([\w.-]+) \| (\d+) \| (.*)")
    assert len(rows) == 6
    for row in rows:
        model, accumulation, speedups = row.groups()
        steps_ms = int(accumulation) * STEPS[model][1]
        expected = [2 * steps_ms / (steps_ms + _allreduce_ms(model, rate)) for rate in _rates()]
        assert speedups.split(" | ") == [f"{speedup:.2f}" for speedup in expected]


@pytest.mark.parametrize("model", STEPS)
def test_the_steps_are_published(model: str) -> None:
    pipeline, step_ms = STEPS[model]
    (summary,) = summaries(chip="M4", key=f"training/{pipeline}/{model}/step")
    assert summary.value == step_ms
    assert f"{step_ms:g} ms of {model} ({pipeline})" in CALCULATED
