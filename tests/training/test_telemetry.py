"""Telemetry in the published format, and the trace of a run."""

import json
import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.training.accounting import COMPONENTS, step_flops
from aneperf.training.events import Event, StepDone
from aneperf.training.trace import ROWS
from support.training_runs import MODEL, RUN

METADATA = {"process_name", "thread_name", "thread_sort_index"}  # those that viewers know
PUBLISHED_STEP = [
    "type",
    "step",
    "loss",
    "t_ane",
    "t_io",
    "t_cls",
    "t_elem",
    "t_rms",
    "t_cblas_wait",
    "compiles",
]


def lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        yield json.loads(line)


def test_telemetry(device_name: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    options = {**RUN, "steps": 8}
    result = aneperf.train(MODEL, device=device_name, telemetry=path, peak_tflops=0.5, **options)
    head, *rest = lines(path)
    assert head["type"] == "run"
    assert head["aneperf"] == aneperf.__version__
    assert head["environment"]["device"] == result.environment.device
    assert head["config"]["model"]["dim"] == MODEL.dim
    assert head["unigram_entropy"] == pytest.approx(np.log(MODEL.vocab), abs=1e-6)
    kinds = [line["type"] for line in rest]
    batch = ["worker", *["step", "times"] * 3, "batch", "perf", "update"]
    assert kinds == [*batch, *batch, "worker", *["step", "times"] * 2, "batch", "perf", "update"]
    steps = [line for line in rest if line["type"] == "step"]
    times = [line for line in rest if line["type"] == "times"]
    for number, (step, loss) in enumerate(zip(steps, result.losses, strict=True)):
        assert list(step) == PUBLISHED_STEP
        assert step["step"] == number
        assert step["loss"] == pytest.approx(loss, abs=1e-6)
        first = number - number % 3
        for name in COMPONENTS:
            mean = sum(line["forward"][name] for line in times[first : number + 1]) / (number - first + 1)
            assert step[f"t_{name}"] == pytest.approx(mean, abs=6e-4)
    assert [step["compiles"] for step in steps] == [12] * 3 + [22] * 3 + [32] * 2
    for line in times:
        parts = sum(line["forward"].values()) + sum(line["backward"].values()) + line["other"]
        assert parts == pytest.approx(line["wall"], rel=0.01)
        assert line["overhead"] >= 0
    updates = [line for line in rest if line["type"] == "update"]
    for done, line in zip(result.batches, updates, strict=True):
        assert line["learning_rate"] == done.learning_rate == RUN["learning_rate"]
        assert line["gradient_norm"] == pytest.approx(done.gradient_norm, abs=1e-6)
        assert line["tokens_per_s"] == pytest.approx(1e3 * 16 * done.steps / done.train_ms, abs=0.06)
    batches = [line for line in rest if line["type"] == "batch"]
    assert [line["batch"] for line in batches] == [3, 3, 2]
    assert all(list(line) == ["type", "batch", "compile_ms", "train_ms", "ms_per_step"] for line in batches)
    for done, line in zip(result.batches, (line for line in rest if line["type"] == "perf"), strict=True):
        rate = step_flops(MODEL).device * done.steps / done.train_ms / 1e9
        assert line == {
            "type": "perf",
            "ane_tflops": pytest.approx(rate, abs=6e-4),
            "ane_util_pct": pytest.approx(200 * rate, abs=6e-3),
        }


def test_what_is_not_known_is_null(device_name: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    aneperf.train(MODEL, device=device_name, telemetry=path, steps=1, loss_scale=1e38)
    by_kind = {line["type"]: line for line in lines(path)}
    assert by_kind["perf"]["ane_util_pct"] is None
    assert by_kind["update"]["gradient_norm"] is None
    assert by_kind["update"]["applied"] is False


def test_a_resumed_run_continues_its_telemetry(device_name: str, tmp_path: Path) -> None:
    path, options = tmp_path / "run.jsonl", {**RUN, "device": device_name, "checkpoints": tmp_path / "c"}
    for steps, resume in ((6, False), (9, True)):
        aneperf.train(MODEL, telemetry=path, resume=resume, **{**options, "steps": steps})
    assert [line["step"] for line in lines(path) if line["type"] == "step"] == list(range(9))
    assert [line["first_step"] for line in lines(path) if line["type"] == "run"] == [0, 6]
    assert [line["step"] for line in lines(path) if line["type"] == "checkpoint"] == [3, 6, 9]


def test_lost_workers_are_told(device_name: str, tmp_path: Path) -> None:
    path, trace, pids = tmp_path / "run.jsonl", tmp_path / "trace.json", set()

    def kill(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 4:
            line = [line for line in lines(path) if line["type"] == "worker"][-1]
            pids.add(line["pid"])
            os.kill(line["pid"], signal.SIGKILL)

    result = aneperf.train(MODEL, device=device_name, telemetry=path, trace=trace, progress=kill, **RUN)
    events = [line for line in lines(path) if line["type"] == "worker"]
    assert [(e["event"], e["step"]) for e in events] == [
        *[("loaded", 0), ("loaded", 3), ("lost", 5), ("loaded", 5), ("loaded", 6), ("loaded", 9)]
    ]
    assert "SIGKILL" in events[2]["reason"]
    assert [e["new"] for e in events if e["event"] == "loaded"] == [True, False, True, False, False]
    assert {e["pid"] for e in events[3:]}.isdisjoint(pids)
    assert (len(result.losses), result.workers, len(result.lost)) == (12, 2, 1)
    assert "Workers lost, whose steps were repeated: 1; its process was killed by SIGKILL" in str(result)
    names = [event["name"] for event in json.loads(trace.read_text())["traceEvents"]]
    assert names.count("worker lost") == 1


def test_a_trace(device_name: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    result = aneperf.train(MODEL, device=device_name, trace=path, checkpoints=tmp_path / "c", **RUN)
    trace = json.loads(path.read_text())
    assert trace["otherData"]["environment"]["device"] == result.environment.device
    events = trace["traceEvents"]
    assert {event["name"] for event in events if event["ph"] == "M"} == METADATA
    rows = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert tuple(rows[number] for number in sorted(rows)) == ROWS
    spans: dict[str, list[dict[str, Any]]] = {row: [] for row in ROWS}
    for event in events:
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] >= 0
            spans[rows[event["tid"]]].append(event)
    assert {event["name"] for event in spans["device"]} == {"ane_fwd", "ane_bwd"}
    assert len(spans["device"]) == 12 * 2 * 6
    assert {event["name"] for event in spans["dW queue"]} >= {"embedding", "layers.1.wq"}
    assert [event["name"] for event in spans["optimizer"]] == [f"update {n}" for n in range(4)]
    assert [event["name"] for event in spans["checkpoint"]] == [f"step {n}" for n in (3, 6, 9, 12)]
    assert sum(event["dur"] for event in spans["checkpoint"]) == pytest.approx(1e3 * result.checkpoint_ms)
    assert [event["name"] for event in spans["worker start"]] == ["kernels without weights"]
    assert [event["name"] for event in spans["compile"]] == ["weights"] * 4
    steps = [event for event in spans["CPU"] if event["name"].startswith("step ")]
    assert [event["name"] for event in steps] == [f"step {n}" for n in range(12)]
    for step, times in zip(steps, result.times, strict=True):
        assert step["dur"] == pytest.approx(1e3 * times.wall)
    for one, other in pairwise(steps):
        assert one["ts"] + one["dur"] <= other["ts"]
    for row in ROWS:
        for one, other in pairwise(sorted(spans[row], key=lambda event: (event["ts"], -event["dur"]))):
            end = one["ts"] + one["dur"]
            assert other["ts"] >= end - 1e-3 or other["ts"] + other["dur"] <= end + 1e-3, (row, one, other)
    inside = sum(step["ts"] <= e["ts"] < step["ts"] + step["dur"] for e in spans["device"] for step in steps)
    assert inside == len(spans["device"])


@pytest.mark.parametrize("ending", ["interrupt", "failure"])
def test_a_trace_of_a_run_that_ends_early(device_name: str, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "trace.json"

    def end(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 4:
            if ending == "failure":
                raise RuntimeError
            os.kill(os.getpid(), signal.SIGINT)

    try:
        aneperf.train(MODEL, device=device_name, trace=path, progress=end, **RUN)
    except RuntimeError:
        assert ending == "failure"
    names = [event["name"] for event in json.loads(path.read_text())["traceEvents"]]
    assert "step 4" in names
    assert [file.name for file in tmp_path.iterdir()] == ["trace.json"]


def test_a_folder_whose_name_is_not_utf_8(device_name: str, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"ck\xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    path = tmp_path / "run.jsonl"
    aneperf.train(MODEL, device=device_name, telemetry=path, checkpoints=folder, **{**RUN, "steps": 3})
    (saved,) = (line for line in lines(path) if line["type"] == "checkpoint")
    assert saved["folder"].endswith("/ck\ufffd/step-00000003")
