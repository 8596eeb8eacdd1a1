"""The scripts of `examples`, each copied to an empty folder and run as its user would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aneperf.results import Result
from support.compared import around
from support.fakes import a_result
from support.saved_results import saved

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = {path.name for path in EXAMPLES.glob("*.py")}
MODEL = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
  func main<ios18>(tensor<fp16, [1, 4, 1, 32]> x) {
    tensor<fp16, [1, 4, 1, 32]> wave = sin(x = x)[name = string("wave")];
    tensor<fp16, [1, 4, 1, 32]> y = softmax(axis = int32(1), x = wave)[name = string("y")];
  } -> (y);
}
"""
Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Return what runs a copy of an example, on the emulator, in an empty folder."""
    monkeypatch.setenv("ANEPERF_DEVICE", "emulator")

    def run(name: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        shutil.copy(EXAMPLES / name, tmp_path)
        start = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0"]
        start = start if name.startswith("test_") else [sys.executable]
        # A worker of pytest-xdist names itself there, and pytest-benchmark measures nothing in one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            [*start, name, *arguments], cwd=tmp_path, capture_output=True, text=True, env=environment
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_the_readme_lists_every_script_once() -> None:
    listed = re.findall(
        r"^\| \[(\S+)\]\(\1\) \| .* \| `.*\1.*` \|$", (EXAMPLES / "README.md").read_text(), re.M
    )
    assert sorted(listed) == sorted(SCRIPTS)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_is_short_and_has_a_test(name: str) -> None:
    assert 15 <= len((EXAMPLES / name).read_text().splitlines()) <= 60
    assert f'script("{name}"' in Path(__file__).read_text()


def test_evaluate(script: Script) -> None:
    assert "relu of the sum is right: True" in script("evaluate.py").stdout


def test_lint_file(script: Script, tmp_path: Path) -> None:
    (tmp_path / "model.mil").write_text(MODEL)
    out = script("lint_file.py", "model.mil", "M1", "M4", code=1).stdout
    assert "M1: 1 findings\n  model.mil:5: fails: sin: " in out
    assert "M4: 0 findings" in out


@pytest.mark.parametrize(("ms", "code"), [(1.0, 0), (2.0, 1)])
def test_compare(script: Script, tmp_path: Path, ms: float, code: int) -> None:
    saved(tmp_path / "before.json", a_result(around(1.0)))
    saved(tmp_path / "after.json", a_result(around(ms)))
    done = script("compare.py", "before.json", "after.json", code=code)
    assert ("slower: " in done.stdout) == bool(code)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("compare.py", ["no.json", "no.json"], 2),
        ("gate.py", ["broken.json"], 2),
        ("lint_file.py", ["no.mil"], 2),
        ("profile_model.py", ["no.mil"], 1),
        ("generate_text.py", ["no"], 1),
        ("peak.py", ["no/peak.json", "--seconds", "0.5"], 1),
        ("train_tiny.py", ["taken"], 1),
    ],
)
def test_a_file_that_is_no_good_is_an_error_in_a_line(
    script: Script, tmp_path: Path, name: str, arguments: list[str], code: int
) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "taken" / "checkpoints").mkdir(parents=True)  # without a checkpoint to resume
    error = script(name, *arguments, code=code).stderr
    assert error.count("\n") == 1
    assert arguments[0].split("/")[0] in error


@pytest.mark.thorough
def test_peak(script: Script, tmp_path: Path) -> None:
    script("peak.py", "peak.json", "--seconds", "3")
    assert len(Result.load(tmp_path / "peak.json")) == 10


@pytest.mark.thorough
def test_bench_axes(script: Script) -> None:
    out = script("bench_axes.py", "--seconds", "1").stdout
    # A busy machine has no time for some of the rows, which says so.
    row = r"^\d+ x \d+: .* ms, .* GFLOP/s$|^channels=\d+ hidden=\d+ skipped the time budget"
    assert len(re.findall(row, out, re.M)) == 6


@pytest.mark.thorough
def test_int8_weights(script: Script) -> None:
    out = script("int8_weights.py", "--seconds", "1").stdout
    sizes = [int(size.replace(",", "")) for size in re.findall(r"^\w+: ([\d,]+) bytes", out, re.M)]
    assert sizes[1] < 0.6 * sizes[0]
    assert "dtype=int8" in out


@pytest.mark.thorough
def test_profile_model(script: Script, tmp_path: Path) -> None:
    (tmp_path / "model.mil").write_text(MODEL)
    out = script("profile_model.py", "model.mil", "--seconds", "1").stdout
    assert re.search(r"^ *-?[\d.]+%  softmax +y, line 6$", out, re.M)


@pytest.mark.thorough
def test_gate(script: Script, tmp_path: Path) -> None:
    assert "the baseline now" in script("gate.py", "baseline.json", "--seconds", "2").stdout
    baseline = Result.load(tmp_path / "baseline.json")
    assert [row.key for row in baseline] == ["bench/gate.py:attention"]
    # One that is of another machine stops the gate, whatever the times.
    other = (tmp_path / "baseline.json").read_text().replace(baseline.environment.cpu, "another CPU")
    (tmp_path / "baseline.json").write_text(other)
    assert (
        "the gate fails: cpu differs" in script("gate.py", "baseline.json", "--seconds", "2", code=1).stdout
    )


@pytest.mark.thorough
def test_train_and_generate(script: Script, tmp_path: Path) -> None:
    assert "step    0  loss" in script("train_tiny.py", "tiny", "--steps", "12").stdout
    assert "step   20  loss" in script("train_tiny.py", "tiny", "--steps", "24").stdout
    assert (tmp_path / "tiny" / "model.bin").exists()
    assert script("generate_text.py", "tiny/checkpoints", "Shall I").stdout.startswith("Shall I")


@pytest.mark.thorough
def test_test_speed(script: Script, tmp_path: Path) -> None:
    assert "2 passed" in script("test_speed.py", "--ane-result", "speed.json").stdout
    assert len(Result.load(tmp_path / "speed.json")) == 2
