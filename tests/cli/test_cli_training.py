"""The verb train, and what it shows of a run."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.cli.training_run import _reshaped
from aneperf.kernels.presets import PRESETS
from aneperf.training.llama2c import load_llama2c, save_llama2c
from aneperf.training.models import random_parameters
from support import environment
from support.command import assert_refused, small_file
from support.parameters import thorough
from support.training_runs import MODEL, RUN, SHAPE, SMALL

# As maderix/ANE, training/dashboard.py reads the published training's lines.
PUBLISHED = {
    "config": r"dim=(\d+) hidden=(\d+) heads=(\d+) seq=(\d+) vocab=(\d+) layers=(\d+)",
    "step": r"step\s+(\d+)\s+loss=([\d.]+)",
    "batch": r"\[batch (\d+): compile=([\d.]+)ms train=([\d.]+)ms \(([\d.]+)ms/step\) compiles=(\d+)\]",
    "timing": r"ane=([\d.]+) io=([\d.]+) cls=([\d.]+) elem=([\d.]+) rms=([\d.]+) cblas_wait=([\d.]+)",
    "ANE FLOPs": r"ANE FLOPs/step: ([\d.]+)M",
    "rate": r"ANE TFLOPS:\s+([\d.]+)",
    "total": r"Total steps:?\s+(\d+)",
}


def test_train_in_a_pipe(run: Any, device_name: str) -> None:
    outcome = run("train", *SMALL, "--device", device_name)
    assert outcome.code == 0
    assert outcome.err == ""
    assert "\x1b" not in outcome.out
    found = {name: re.findall(pattern, outcome.out) for name, pattern in PUBLISHED.items()}
    assert found["config"] == [("32", "64", "4", "16", "64", "2")]
    assert [number for number, _ in found["step"]] == list("012345")
    assert [batch[0] for batch in found["batch"]] == ["3", "3"]
    assert [batch[-1] for batch in found["batch"]] == ["12", "22"]
    assert len(found["timing"]) == 2
    assert found["total"] == ["6"]
    assert len(found["rate"]) == len(found["ANE FLOPs"]) == 1
    updates = re.findall(r"\[update (\d): lr=3.00e-04 grad_norm=[\d.]+ tokens/s=[\d.]+\]", outcome.out)
    assert updates == ["0", "1"]
    assert "pipeline static" in outcome.out
    if aneperf.info(device_name).is_software:
        assert "not a Neural Engine measurement" in outcome.out.splitlines()[0]


def test_train_in_a_pipe_with_the_dynamic_pipeline(run: Any, device_name: str) -> None:
    outcome = run("train", *SMALL, "--device", device_name, "--pipeline", "dynamic")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    number, rate = r"[\d.]+", r"-?[\d.]+(e[+-]\d\d)?"
    # As maderix/ANE, training/training_dynamic/train.m prints them.
    names = "ane_fwd io_fwd rms ane_bwd io_bwd silu rms_bwd cls cblas_wait dw_copy"
    timing = "  timing: " + " ".join(f"{name}={number}" for name in names.split())
    step = (
        rf"step (\d) {{4}}loss={number}  lr=3.00e-04  {number}ms/step  x\[{rate},{rate}\] dy\[{rate},{rate}\]"
    )
    assert sum(bool(re.fullmatch(timing, line)) for line in lines) == 1
    steps = [found for line in lines if (found := re.fullmatch(step, line))]
    assert [found[1] for found in steps] == list("012345")
    assert sum(bool(re.fullmatch(PUBLISHED["batch"], line)) for line in lines) == 2
    norms = rf"  grad_norm={number}  attn={number} ffn={number} embed={number}"
    assert sum(bool(re.fullmatch(norms, line)) for line in lines) == 2
    compiled = r"Compiled 10 kernels in \d+ms \(shared across all 2 layers\)"
    assert sum(bool(re.fullmatch(compiled, line)) for line in lines) == 1
    assert sum(bool(re.fullmatch(r"Staged weights in \d+ms", line)) for line in lines) == 2


def test_the_verb_trains_as_the_function_does(run: Any, device_name: str, tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("output", "telemetry", "trace", "checkpoints", "save")}
    options = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    outcome = run(
        *("train", *SHAPE, *options, "--device", device_name, "--pipeline", "static-ane", "--steps", "12"),
        *("--accumulation", "3", "--lr", "0.01", "--seed", "4", "--weight-decay", "0.1", "--clip", "1"),
        *(
            "--warmup",
            "2",
            "--decay",
            "cosine",
            "--beta2",
            "0.95",
            "--loss-scale",
            "64",
            "--peak-tflops",
            "3",
        ),
    )
    assert outcome.code == 0
    assert "% of 3 TFLOPS" in outcome.out
    expected = aneperf.train(
        MODEL,
        device=device_name,
        pipeline="static-ane",
        weight_decay=0.1,
        clip=1.0,
        warmup=2,
        decay="cosine",
        beta2=0.95,
        loss_scale=64.0,
        **RUN,
    )
    lines = [json.loads(line) for line in paths["telemetry"].read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["type"] == "step"]
    assert losses == pytest.approx(expected.losses, abs=1e-6)
    json.loads(paths["trace"].read_text())
    assert run("validate", str(paths["output"])).code == 0
    _, saved = load_llama2c(paths["save"])
    for name, value in expected.parameters.items():
        np.testing.assert_array_equal(saved[name], value)


def test_validation_losses_in_a_pipe(run: Any, device_name: str, tmp_path: Path) -> None:
    path, folder = tmp_path / "held_out.bin", tmp_path / "c"
    np.arange(64, dtype="<u2").tofile(path)
    options = ["--eval-data", str(path), "--eval-every", "1", "--eval-sequences", "2"]
    outcome = run("train", *SMALL, "--device", device_name, *options, "--checkpoints", str(folder))
    assert outcome.code == 0
    line = r"\[validation, step (\d), loss=[\d.]+, best [\d.]+ at step \d; 2 sequences in \d+ms\]"
    assert re.findall(line, outcome.out) == ["3", "6"]
    assert re.search(r"\[best ckpt saved, step 3, loss=[\d.]+\]", outcome.out)
    assert re.search(r"Validation loss: [\d.]+ at step 6, mean of 2 sequences; the best", outcome.out)
    assert run("generate", str(folder / "best"), "--tokens", "1", "--max-new-tokens", "1").code == 0
    refused = run("train", *SMALL, "--eval-data", str(path), "--trace", str(path))
    assert_refused(refused, "held_out.bin: is also read, as --eval-data: name another file")


def test_train_prints_json(run: Any, device_name: str) -> None:
    outcome = run("train", *SMALL, "--device", device_name, "-o", "-")
    assert outcome.code == 0
    assert json.loads(outcome.out)["probe"] == "train"
    assert "step 0 " in outcome.err
    assert "Total steps: 6" in outcome.err


def test_resume(run: Any, device_name: str, tmp_path: Path) -> None:
    options = [*SHAPE, "--accumulation", "3", "--device", device_name, "--checkpoints", str(tmp_path / "c")]
    assert run("train", *options, "--steps", "6").code == 0
    outcome = run("train", *options, "--steps", "9", "--resume")
    assert outcome.code == 0
    assert re.search(r"\[RESUMED step 6, loss=[\d.]+\]", outcome.out)
    assert [int(step) for step, _ in re.findall(PUBLISHED["step"], outcome.out)] == [6, 7, 8]
    assert run("train", *options, "--steps", "9", "--resume-step", "6").code == 0
    bare = ["train", "--checkpoints", str(tmp_path / "c"), "--resume", "--compile-timeout", "100"]
    assert run(*bare, "--steps", "12", "--seq", "16").code == 0
    refused = run(*bare, "--steps", "15", "--layers", "3")
    assert (refused.code, refused.err.partition("run: ")[2]) == (2, "model.layers is 3, was 2\n")
    refused = run("train", *options, "--steps", "12", "--lr", "1", "--resume")
    assert refused.code == 2
    assert refused.err == (
        "aneperf: the checkpoint of step 12 is of another run: learning_rate is 1.0, was 0.0003\n"
    )


def test_what_a_resumed_run_writes_is_asked_for_before_it_opens_a_file(
    run: Any, device_name: str, tmp_path: Path
) -> None:
    folder, log = str(tmp_path / "c"), str(tmp_path / "log")
    options = ["--pipeline", "dynamic", "--as-published", "--device", device_name, "--telemetry", log]
    assert run("train", *SMALL, *options, "--checkpoints", folder).code == 0
    written = Path(log).read_bytes()
    resume = ["train", "--checkpoints", folder, "--resume", "--steps", "9"]
    for option in ("--save", "--save-hf", "--save-lora"):
        logs = ["--telemetry", str(tmp_path / "new"), "--trace", str(tmp_path / "trace")]
        refused = run(*resume, option, str(tmp_path / "model"), *logs)
        assert refused.code == 2
        assert re.search("trained as published|there are no adapters", refused.err)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "log"]
    outcome = run(*resume)
    assert outcome.code == 0
    assert outcome.err == (
        f"aneperf: not taken over from the checkpoint, since it leads out of its folder: --telemetry {log}\n"
    )
    assert Path(log).read_bytes() == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "gpt"], "no model is called 'gpt': choose stories260k, stories15m"),
        (["--steps", "0"], "steps must be an integer from 1 to 99999999, not 0"),
        (["--lr", "nan"], "learning_rate must be a number from 1e-30 to 1e+30, not nan"),
        (["--beta1", "1"], "beta1 must be below 1"),
        (["--checkpoint-every", "-1"], "checkpoint_every must be a number from 0 to 1e+06, not -1"),
        (["--seed", "-1"], "seed must be an integer from 0 to 9223372036854775807, not -1"),
        (["--heads", "5"], "5 heads do not divide 32 channels: give --head-dim"),
        (["--heads", "6", "--head-dim", "8", "--kv-heads", "4"], "4 kv_heads do not divide 6 heads"),
        (["--layers", "0"], "layers must be an integer from 1 to 1024, not 0"),
        (["--data", "FILE"], "has 3 bytes, an odd number"),
        (["--weights", "FILE"], "is no llama2.c model"),
        (["--resume"], "resume needs the folder of the checkpoints"),
        (["--checkpoints", "FILE"], "is not a folder"),
        (["--checkpoints", "NEW", "--resume"], "has no checkpoint"),
        (["--device", "gpu"], "no device is called 'gpu'"),
        (["-o", "NEW/x"], "does not exist: create it first"),
        (["--trace", "NEW/x"], "does not exist: create it first"),
        (["--telemetry", "NEW/x"], "does not exist: create it first"),
        (["--save", "NEW/x"], "does not exist: create it first"),
        (["--state-folder", "NEW"], "cannot hold the training state: No such file"),
        (["--trace", "-"], "--trace needs the name of a file: only -o takes - for standard output"),
        (["--plot", "losses.xyz"], "losses.xyz: not a picture format: choose from"),
        (["--save", "model.bin", "--head-dim", "4"], "4 of 4 are not 32"),
        (["--lora-rank", "33"], "lora_rank must be at most 32, the rank of q [32, 32], not 33"),
        (["--lora-rank", "4", "--lora-alpha", "inf"], "lora_alpha must be a number from 1e-30 to 1e+30"),
        (["--lora-rank", "4", "--lora-targets", "q,lm_head"], "with commas between them, not 'lm_head'"),
        (["--lora-targets", "q"], "lora_targets needs lora_rank, the rank of the adapters"),
        (["--save-lora", "adapters"], "--save-lora needs --lora-rank, the rank of the adapters"),
        (["--save", "model.bin", "--as-published"], "cannot run a model that was trained as published"),
    ],
)
def test_what_cannot_be_trained(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    file = small_file(tmp_path, b"abc")
    named = {"FILE": file, "NEW": str(tmp_path / "new"), "NEW/x": str(tmp_path / "new" / "x")}
    options = [named.get(argument, argument) for argument in arguments]
    monkeypatch.chdir(tmp_path)
    outcome = run("train", "--model", "stories260k", "--dim", "32", "--heads", "4", *options)
    assert_refused(outcome, message)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_shared_memory_that_is_too_small(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 100, 1, 1, 10, 10, 10, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    outcome = run("train", *SMALL, "--device", "emulator")
    assert_refused(outcome, "has 0 MiB free: name a folder for it with state_folder (--state-folder)")


def test_other_shapes(tmp_path: Path) -> None:
    shape = _reshaped("stories15m", None, {"dim": 128, "heads": 4})
    assert (shape.dim, shape.heads, shape.kv_heads, shape.head_dim, shape.layers) == (128, 4, 4, 32, 6)
    assert _reshaped(None, None, {"seq": 128}) == replace(PRESETS["stories110m"], seq=128)
    assert _reshaped("stories260k", None, {"dim": 128}).head_dim == 16
    path = tmp_path / "m.bin"
    save_llama2c(path, MODEL, random_parameters(MODEL))
    assert _reshaped(None, path, {"seq": 24}) == replace(MODEL, seq=24)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, *thorough(signal.SIGHUP)])
def test_a_signal_ends_training_in_good_order(
    device_name: str, tmp_path: Path, number: signal.Signals
) -> None:
    """Send the signal to the whole group, workers too."""
    command = [sys.executable, "-m", "aneperf", "train", *SHAPE, "--steps", "1000000", "--accumulation", "3"]
    command += ["--device", device_name, "--checkpoints", str(tmp_path / "c"), "--trace", str(tmp_path / "t")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("[batch"):
                break
        time.sleep(0.1)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert err == f"aneperf: interrupted{'' if number == signal.SIGINT else f' by {number.name}'}\n"
    end = re.search(r"Interrupted: the result ends with step (\d+)", out)
    assert end
    assert (tmp_path / "c" / f"step-{int(end[1]):08d}").is_dir()
    json.loads((tmp_path / "t").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "t"]


def test_a_signal_leaves_no_temporary_file(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: object, text: str, *, whole: bool) -> list[int]:
        os.kill(os.getpid(), signal.SIGTERM)
        return list(text.encode())

    monkeypatch.setattr("aneperf.training.tokenizer.Bytes.encode", interrupted)
    (tmp_path / "text").write_text("hello")
    outcome = run(*("data", str(tmp_path / "text"), "--tokenizer", "bytes", "-o", str(tmp_path / "tokens")))
    assert (outcome.code, outcome.out, outcome.err) == (143, "", "aneperf: interrupted by SIGTERM\n")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


@pytest.mark.parametrize(
    "how",
    [
        "function <&- >&- 2>&-",
        *thorough("command <&- >&-", "command <&- 2>&-", "command >&- 2>&-", "command <&- >&- 2>&-"),
        *thorough("function <&- >&-", "function <&- 2>&-", "function >&- 2>&-"),
    ],
)
def test_closed_standard_streams(device_name: str, tmp_path: Path, how: str) -> None:
    way, _, closed = how.partition(" ")
    folder = tmp_path / "c"
    if way == "command":
        command = ["-m", "aneperf", "train", *SMALL, "--device", device_name, "--checkpoints", str(folder)]
    else:
        code = (
            "import aneperf\nfrom support.training_runs import MODEL\n"
            f"folder, device = {str(folder)!r}, {device_name!r}\n"
            "aneperf.train(MODEL, device=device, steps=6, accumulation=3, checkpoints=folder)"
        )
        command = ["-c", code]
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, *command],
        check=False,
        capture_output=True,
        timeout=120,
        env=environment(),
    )
    assert ended.returncode == 0
    assert b"Traceback" not in ended.stderr
    assert [path.name for path in folder.iterdir()] == ["step-00000006"]


def test_an_output_that_fails_loses_no_other(
    run: Any, device_name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(result: object, output: str) -> None:
        raise aneperf.ResultFileError(f"{output}: cannot write: No space left on device")

    monkeypatch.setattr("aneperf.cli.training_run.save_result", refuse)
    paths = ["-o", str(tmp_path / "r.json"), "--save", str(tmp_path / "m.bin")]
    outcome = run("train", *SMALL, "--device", device_name, *paths)
    assert outcome.code == 2
    assert outcome.err.endswith("r.json: cannot write: No space left on device\n")
    assert "Total steps: 6" in outcome.out
    assert [path.name for path in tmp_path.iterdir()] == ["m.bin"]


@pytest.mark.skipif(os.name != "posix", reason="needs closed pipes")
@pytest.mark.parametrize("kept", [True, False])
def test_a_reader_that_leaves(device_name: str, tmp_path: Path, kept: bool) -> None:
    """End `train | head` in silence; only a run that keeps something continues to its end."""
    steps = "9" if kept else "1000000"
    command = [sys.executable, "-m", "aneperf", "train", *SHAPE, "--steps", steps, "--accumulation", "3"]
    command += ["--device", device_name, *(["-o", str(tmp_path / "r.json")] if kept else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "pipeline static" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=120) == 141
    assert [path.name for path in tmp_path.iterdir()] == (["r.json"] if kept else [])
    if kept:
        assert json.loads((tmp_path / "r.json").read_text())["probe"] == "train"


def test_a_run_without_any_update_has_failed(run: Any, device_name: str) -> None:
    outcome = run("train", *SMALL, "--device", device_name, "--loss-scale", "1e38")
    assert outcome.code == 1
    assert "Updates skipped, since gradients were not finite: 2." in outcome.out
    assert outcome.err == (
        "aneperf: no update was applied: no gradient was finite; check the weights, or lower --loss-scale\n"
    )
