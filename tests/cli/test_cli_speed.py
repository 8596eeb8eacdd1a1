"""The verbs of the probes of speed: options, exit codes, and one line for what cannot be done."""

from pathlib import Path
from typing import Any

import pytest

from aneperf.kernels import ConvStack
from aneperf.results import Result
from support.fakes import FakeDevice, fake_text, in_this_process, with_fake_kernels
from support.terminals import widest_line

VERBS = ["int8", "latency", "dispatch", "sram", "sustained", "sweep", "qos", "ports"]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    device = FakeDevice()
    in_this_process(monkeypatch)
    with_fake_kernels(monkeypatch)
    monkeypatch.setattr("aneperf.device.open", lambda *args, **kwargs: device)
    return device


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_for_each_probe(device: FakeDevice, run: Any, tmp_path: Path, verb: str) -> None:
    device.call_ns = lambda call: 10**9  # so that few of them fill the time
    path = tmp_path / "r.json"
    outcome = run(verb, "--budget", "0.5", "-o", str(path))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"aneperf {verb}\n")
    result = Result.load(path)
    assert widest_line(result) <= 80
    assert result.probe == verb
    assert {row.key.partition("/")[0] for row in result} == {verb}
    assert {row.status for row in result} <= {"ok", "skipped"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "--channels", "0"], "--channels: '0' is no value: they start at 1 and go upwards"),
        (["sweep", "--channels", "-5"], "--channels: '-5' is no value"),
        (["sweep", "--spatial", "64..x"], "--spatial: '64..x' is no value: give 64,512 or 64..2048 or all"),
        (["sweep", "--spatial", "70000"], "width must be an integer from 1 to 65536, not 70000"),
        (["sweep", "--depth", ""], "--depth: '' is no value"),
        (["sweep", "--channels", "65536"], "has 8.0 GiB of weights, where a sweep takes 2: give fewer"),
        (["qos", "--value", "64"], "values must be different integers in 0..63, not [64]"),
        (["qos", "--value", "3", "--value", "3"], "values must be different integers in 0..63"),
        (["sustained", "--seconds", "0"], "seconds must be a positive, finite number, not 0.0"),
        (["sustained", "--seconds", "nan"], "seconds must be a positive"),
        (["sustained", "--budget", "-1"], "budget must be a positive"),
        *(([verb, "--budget", "0"], "budget must be a positive, finite number") for verb in VERBS),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    device: FakeDevice, run: Any, arguments: list[str], message: str
) -> None:
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.startswith("aneperf: ")
    assert outcome.err.count("\n") == 1
    assert device.programs == []


def test_options_reach_the_probes(device: FakeDevice, run: Any, tmp_path: Path) -> None:
    device.call_ns = lambda call: 10**9
    path = tmp_path / "r.json"

    def keys(*arguments: str) -> list[str]:
        assert run(*arguments, "--budget", "0.5", "-o", str(path)).code == 0
        return [row.key for row in Result.load(path)]

    assert keys("latency", "--ports", "fp16")[0] == "latency/conv256x1/sp64/fp16-ports"
    assert len(keys("sram")) == 10
    assert len(keys("sram", "--fine")) == 22
    assert keys("qos", "--value", "9", "--value", "21") == ["qos/9/conv256x1/sp64", "qos/21/conv256x1/sp64"]
    assert keys("sweep", "--depth", "1,2", "--channels", "8", "--spatial", "32", "--ports", "fp16") == [
        "sweep/conv8x1/sp32/fp16-ports",
        "sweep/conv8x2/sp32/fp16-ports",
    ]
    assert len(keys("sweep", "--channels", "all")) == 52
    assert keys("sustained", "--seconds", "0.1", "--ports", "fp16")[0] == (
        "sustained/conv512x128/sp2048/fp16-ports"
    )


def test_an_interrupt_keeps_what_was_finished(device: FakeDevice, run: Any, tmp_path: Path) -> None:
    device.call_ns = lambda call: 10**9
    device.outcomes = {fake_text(ConvStack(1024, 1)): KeyboardInterrupt()}
    outcome = run("latency", "-o", str(tmp_path / "r.json"))
    assert (outcome.code, outcome.err) == (130, "aneperf: interrupted\n")
    assert "512ch x 64sp" in outcome.out
    assert [row.params["channels"] for row in Result.load(tmp_path / "r.json")] == [256, 512]


def test_a_wrong_answer_is_exit_code_1(device: FakeDevice, run: Any) -> None:
    device.call_ns = lambda call: 10**9
    device.outcomes = {fake_text(ConvStack(64, 4, width=32, port_dtype="fp16")): 3.0}
    outcome = run("dispatch")
    assert outcome.code == 1
    assert "wrong output" in outcome.out
