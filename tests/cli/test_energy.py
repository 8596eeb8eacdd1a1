"""The option --energy: with a provider of constant power, and where nothing can be read."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from aneperf.errors import ResultFileError
from aneperf.kernels.repeated_stack import ZeroStack
from aneperf.power import reading
from aneperf.results import Result, Row
from aneperf.schema import check_numbers
from support.command import assert_refused
from support.fakes import FakeDevice, an_environment, fake_text, in_this_process, with_fake_kernels
from support.recorded_power import SteadyPower
from support.terminals import widest_line
from support.training_runs import SMALL

TEMPLATE = """
from aneperf import mil

def net(n):
    b = mil.Builder()
    b.output("y", mil.matmul(b.input("x", (1, 1, n, n)), b.input("z", (1, 1, n, n))))
    return b
"""
EMULATED = "the emulator computes on the CPU: there is no engine whose power could be read"


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let everything in this process read 1 W while nothing runs, and 6 W otherwise."""
    with_known_load(monkeypatch)
    with reading(SteadyPower(monkeypatch)):
        yield


def with_known_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the known load by one that computes nothing."""

    def keep_busy(device: Any, seconds: float, poll: Any, clock: Any) -> None:
        for _ in range(3):
            poll()

    monkeypatch.setattr("aneperf.runner.energy.keep_busy", keep_busy)


@pytest.fixture
def bench(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("aneperf.runner.progress.Budget.next_share", lambda self, parts=1: 0.01)
    (tmp_path / "net.py").write_text(TEMPLATE)

    def bench(*options: str) -> tuple[Any, Result]:
        path = str(tmp_path / "r.json")
        quick = ["--budget", "0.05", "--processes", "1", "--device", "emulator", "--axis", "n=32"]
        outcome = run("bench", str(tmp_path / "net.py:net"), "--energy", *quick, "-o", path, *options)
        return outcome, Result.load(path)

    return bench


def check_power(row: Row, per: str) -> None:
    assert row.energy is not None
    assert (row.energy.method, row.energy.per) == ("energy-model", per)
    metrics = row.metrics
    assert (metrics["power_w"], metrics["idle_w"]) == pytest.approx((5, 1))
    assert (metrics["power_w_low"], metrics["power_w_high"]) == pytest.approx((4.998, 5.002))
    each = metrics["mj_per_eval" if per == "evaluation" else "mj_per_token"]
    assert each == pytest.approx(5e3 * row.energy.seconds / row.energy.count)
    assert metrics["pj_per_op"] == pytest.approx(each / row.energy.gflop)


def test_bench(power: None, bench: Any, run: Any, tmp_path: Path) -> None:
    outcome, result = bench()
    assert (outcome.code, outcome.err) == (0, "")
    for row in result:
        check_power(row, "evaluation")
        assert row.energy is not None
        assert row.energy.gflop == row.metrics["gflop"]
    assert widest_line(result) <= 80
    words = " ".join(outcome.out[outcome.out.index("\nEnergy\n") :].split())
    assert words.startswith("Energy Config W ± Idle W mJ/eval pJ/op Method ")
    assert "n=32 5.00 0.0% 1.00 " in words
    assert "energy-model: the engine alone, by Apple's model of its energy." in words
    flat = result.to_dicts()[0]
    assert (flat["energy"], flat["power_w"]) == ("energy-model", pytest.approx(5))
    page = run("report", str(tmp_path / "r.json"), "-o", str(tmp_path / "page.html"))
    assert page.code == 0
    html = (tmp_path / "page.html").read_text()
    assert "energy-model: the engine alone" in html
    assert html.count("<h1") == 1
    for form in ("md", "csv"):
        assert run("show", str(tmp_path / "r.json"), "-o", str(tmp_path / f"r.{form}")).code == 0
        assert "energy-model" in (tmp_path / f"r.{form}").read_text()


def test_a_power_of_the_emulator_is_no_valid_figure(
    power: None, bench: Any, run: Any, tmp_path: Path
) -> None:
    bench()
    outcome = run("validate", str(tmp_path / "r.json"))
    assert outcome.code == 2
    assert "it has a power by energy-model, but emulator is no engine that takes any" in outcome.err


def on_engine(result: Result) -> Result:
    environment = an_environment(device="ane", os="macOS 26.1", properties={})
    return msgspec.structs.replace(result, environment=environment)


def test_the_figures_follow_from_the_slices(power: None, bench: Any) -> None:
    result = on_engine(bench()[1])
    check_numbers(result)
    row = result.rows[0]
    assert row.energy is not None

    def refused(message: str, metrics: dict[str, float] | None = None, **changes: Any) -> None:
        energy = msgspec.structs.replace(row.energy, **changes)
        changed = msgspec.structs.replace(row, energy=energy, metrics={**row.metrics, **(metrics or {})})
        if metrics is None:
            changed = msgspec.structs.replace(changed, metrics={**changed.metrics, **energy.metrics()})
        with pytest.raises(ResultFileError, match=message):
            check_numbers(msgspec.structs.replace(result, rows=(changed,)))

    refused("power_w is 4.0, but its slices of power give", {"power_w": 4.0})
    refused("mj_per_eval is", {"mj_per_eval": 0.0})
    refused("it has mj_per_token, but no power", {"mj_per_token": 1.0})
    refused("doubt_w is 0.0, but that of energy-model is 0.002", doubt_w=0.0)
    refused("its energy is of 1.0 GFLOP, but gflop is", gflop=1.0)
    refused("the method of its energy is 'thin-air'", method="thin-air")
    refused("its slices last longer than", load_s=(10.0,) * len(row.energy.load_s))
    without = msgspec.structs.replace(row, energy=None)
    with pytest.raises(ResultFileError, match="it has idle_w, but no power from which it follows"):
        check_numbers(msgspec.structs.replace(result, rows=(without,)))


def test_a_file_whose_power_does_not_follow_from_its_slices_is_not_read(
    power: None, bench: Any, run: Any, tmp_path: Path
) -> None:
    bench()
    path = tmp_path / "r.json"
    tree = json.loads(path.read_text())
    tree["rows"][0]["metrics"]["mj_per_eval"] *= 2
    path.write_text(json.dumps(tree))
    for arguments in (["show"], ["compare", str(path)], ["report", "-o", "-.md"]):
        outcome = run(*arguments, str(path))
        assert outcome.code == 2
        assert "mj_per_eval is " in outcome.err
        assert ", but its slices of power give " in outcome.err


HOSTILE: tuple[dict[str, Any], ...] = (
    {"count": -1},
    {"count": 2**64},
    {"seconds": "7"},
    {"load_w": [float("nan")] * 6},
    {"load_w": [1e300] * 6},
    {"load_s": []},
    {"idle_s": [-1.0] * 6},
    {"doubt_w": None},
    {"zero_share": 1.5},
    {"method": None},
    {"reason": "none"},
    {"more": 1},
)


def test_a_file_of_hostile_energy_is_refused_in_a_line(
    power: None, bench: Any, run: Any, tmp_path: Path
) -> None:
    bench()
    path = tmp_path / "r.json"
    written = path.read_text()
    for change in HOSTILE:
        tree = json.loads(written)
        tree["rows"][0]["energy"].update(change)
        path.write_text(json.dumps(tree))
        for verb in ("show", "validate"):
            assert_refused(run(verb, str(path)), "r.json: ")


def test_constant_inputs_have_no_energy(power: None, bench: Any, tmp_path: Path) -> None:
    for name, values in {"zeros": np.zeros((1, 1, 32, 32)), "some": np.eye(32)[None, None]}.items():
        np.savez(tmp_path / f"{name}.npz", x=values.astype(np.float16), z=values.astype(np.float16))
    outcome, result = bench("--inputs", str(tmp_path / "zeros.npz"))
    assert outcome.code == 0
    (row,) = result
    assert "power_w" not in row.metrics
    assert "n=32: energy unavailable: every input holds one value" in " ".join(outcome.out.split())
    outcome, result = bench("--inputs", str(tmp_path / "some.npz"))
    (row,) = result
    check_power(row, "evaluation")
    assert "n=32: 97% of its inputs' elements are zero, which lowers power." in outcome.out


def test_zeros_are_metered_beside_random_inputs(
    power: None, device: FakeDevice, run: Any, tmp_path: Path
) -> None:
    device.call_ns = lambda call: 10**9
    zeros = ZeroStack(512, 16, width=512, port_dtype="fp16")
    device.outcomes = {fake_text(zeros): 0.0}
    outcome = run("inputs", "--energy", "--budget", "8", "-o", str(tmp_path / "r.json"))
    rows = Result.load(tmp_path / "r.json").rows[:2]
    assert [row.status for row in rows] == ["ok", "ok"]
    for row in rows:
        check_power(row, "evaluation")
    assert "Power, random / zero, 16x conv 512ch sp512: 5 W [5, 5] / 5 W [5, 5]." in outcome.out


def test_bench_where_nothing_can_be_read(bench: Any, run: Any, tmp_path: Path) -> None:
    outcome, result = bench()
    assert (outcome.code, outcome.err) == (0, "")
    assert f"n=32: energy unavailable: {EMULATED}" in " ".join(outcome.out.split())
    for row in result:
        assert row.energy is not None
        assert row.energy.label == f"unavailable: {EMULATED}"
        assert not {"power_w", "mj_per_eval", "pj_per_op", "idle_w"} & row.metrics.keys()
    assert run("validate", str(tmp_path / "r.json")).code == 0


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    device = FakeDevice()
    in_this_process(monkeypatch)
    with_fake_kernels(monkeypatch)
    monkeypatch.setattr("aneperf.device.open", lambda *args, **kwargs: device)
    return device


def test_sustained(device: FakeDevice, power: None, run: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    outcome = run("sustained", "--energy", "--seconds", "0.05", "-o", str(path))
    assert (outcome.code, outcome.err) == (0, "")
    whole, *parts = Result.load(path)
    check_power(whole, "evaluation")
    assert whole.energy is not None
    assert whole.energy.count == whole.calls
    assert all(row.energy is None for row in parts)
    assert outcome.out.startswith("aneperf sustained\n")
    assert outcome.out.count("energy-model: the engine alone") == 1


def test_sustained_where_nothing_can_be_read(device: FakeDevice, run: Any) -> None:
    outcome = run("sustained", "--energy", "--seconds", "0.01")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"energy unavailable: {EMULATED}" in " ".join(outcome.out.split())
    assert "0.00" not in outcome.out.partition("energy unavailable")[2]


def known_load_at_once(function: Any, device: Any, *, progress: Any, seconds: float, **options: Any) -> Any:
    """Do what the parent sees of a child process with the known load."""
    for _ in range(3):
        progress(None)
    return SimpleNamespace(result=True)


def test_train(power: None, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.training.energy.run_in_child", known_load_at_once)
    telemetry, path = tmp_path / "t.jsonl", tmp_path / "r.json"
    outcome = run(
        "train", *SMALL, "--device", "emulator", "--energy", "--telemetry", str(telemetry), "-o", str(path)
    )
    assert outcome.code == 0
    assert "[energy: where power can be read, first the idle machine, then a known load]" in outcome.out
    assert "[energy: energy-model: the engine alone, by Apple's model of its energy; 5 W of a " in outcome.out
    assert "Energy: 5.00 W ±0.0% above idle, " in outcome.out
    assert " mJ a token, " in outcome.out
    step = next(row for row in Result.load(path) if row.params["config"] == "step")
    check_power(step, "token")
    assert step.energy is not None
    assert step.energy.count == 6 * 16
    check_numbers(on_engine(Result.load(path)))
    told = [json.loads(line) for line in telemetry.read_text().splitlines()][-1]
    assert (told["type"], told["method"]) == ("energy", "energy-model")
    assert told["mj_per_token"] == step.metrics["mj_per_token"]
    assert run("show", str(path)).out.count("energy-model: the engine alone") == 1
    assert run("show", str(telemetry)).code == 0
    assert run("report", str(path), str(telemetry), "-o", str(tmp_path / "page.html")).code == 0
    assert "mJ/token" in (tmp_path / "page.html").read_text()


def test_a_run_that_is_stopped_before_its_first_step(
    power: None, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any, progress: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return known_load_at_once(*arguments, progress=progress, **options)

    monkeypatch.setattr("aneperf.training.energy.run_in_child", stop)
    outcome = run("train", *SMALL, "--device", "emulator", "--energy")
    assert outcome.code == 130
    assert "[energy: unavailable: the known load does not run: the run was stopped]" in outcome.out
    assert "Interrupted: before the first update." in outcome.out
    assert "Traceback" not in outcome.err


def test_train_where_nothing_can_be_read(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    outcome = run("train", *SMALL, "--device", "emulator", "--energy", "-o", str(path))
    assert outcome.code == 0
    assert f"Energy: unavailable: {EMULATED}" in outcome.out
    step = next(row for row in Result.load(path) if row.params["config"] == "step")
    assert step.energy is not None
    assert step.energy.reason == EMULATED
    assert "power_w" not in step.metrics
    assert run("validate", str(path)).code == 0
