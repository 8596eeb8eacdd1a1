"""Options from a TOML file: which come first, where paths lead, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aneperf.cli.config_file import given_options
from aneperf.cli.training import train
from aneperf.cli.training_run import _INSTEAD, _keywords
from aneperf.device import name_of
from support.command import assert_refused
from support.training_runs import MODEL, SMALL

SHAPE = "dim = 32\nhidden = 64\nlayers = 2\nheads = 4\nkv-heads = 2\nhead_dim = 8\nvocab = 64\nseq = 16\n"


def test_options_come_from_a_file_and_first_from_the_command_line(
    run: Any, device_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    np.arange(64, dtype="<u2").tofile(folder / "tokens.bin")
    (folder / "run.toml").write_text(
        f'{SHAPE}device = "{device_name}"\nsteps = 6\naccumulation = 3\nlr = 0.5\nclip = 1\noutput = "-"\n'
        'as-published = true\npipeline = "dynamic"\ndata = "tokens.bin"\ntelemetry = "log.jsonl"\n'
    )
    monkeypatch.chdir(tmp_path)
    outcome = run("train", "--config", "runs/run.toml", "--lr", "0.25", "--steps", "3")
    assert outcome.code == 0
    assert json.loads(outcome.out)["probe"] == "train"
    head = json.loads((folder / "log.jsonl").read_text().splitlines()[0])
    config = head["config"]
    assert config["model"] == {**config["model"], **vars(MODEL)}
    assert (config["steps"], config["learning_rate"], config["clip"]) == (3, 0.25, 1.0)
    assert (config["pipeline"], config["as_published"], config["accumulation"]) == ("dynamic", True, 3)
    assert head["data"].startswith("64 tokens")
    (folder / "run.toml").write_text('data = "synthetic"\n' + SHAPE)
    outcome = run("train", "--config", "runs/run.toml", "--device", device_name, "--steps", "1")
    assert outcome.code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["log.jsonl", "run.toml", "tokens.bin"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning-rat = 1", "'learning-rat' is no option of the command. Did you mean learning-rate?"),
        ('config = "other.toml"', "'config' is no option of the command."),
        ("help = true", "'help' is no option of the command."),
        ("[optimizer]\nlr = 1", "'optimizer' is no option of the command."),
        ("steps = 1.0", "steps must be an integer, not 1.0"),
        ("steps = true", "steps must be an integer, not True"),
        ('lr = "1e-3"', "lr must be a number, not '1e-3'"),
        ("as_published = 1", "as_published must be true or false, not 1"),
        ("model = 3", "model must be a text in quotes, not 3"),
        ("data = [1]", "data must be a path in quotes, not [1]"),
        ('data = ""', "data must be a path in quotes, not ''"),
        ('checkpoints = "\\u0000"', "checkpoints must be a path in quotes, not '\\x00'"),
        ("lr = 1" + "0" * 400, "run.toml: lr: learning_rate must be a number from 1e-30 to 1e+30, not inf"),
        (
            "learning-rate = nan",
            "run.toml: learning-rate: learning_rate must be a number from 1e-30 to 1e+30, not",
        ),
        ("clip = 2026-01-01", "clip must be a number, not datetime.date(2026, 1, 1)"),
        ('decay = "linear"', "decay must be one of constant, cosine, not 'linear'"),
        ("decay = {a = 1}", "decay must be one of constant, cosine, not {'a': 1}"),
        ("lr = 1\nlearning-rate = 2", "learning-rate is an option that stands there already, under another"),
        ("steps 3", "is no TOML: Expected '=' after a key"),
        ("steps = 1\nsteps = 2", "is no TOML: Cannot overwrite a value"),
        ("a = " + "[" * 100_000, "is no TOML: "),
        ("steps = " + "9" * 5000, "run.toml: "),
        ("\udcff = 1", "run.toml: "),
        ("steps = 0", "run.toml: steps must be an integer from 1 to 99999999, not 0"),
        (
            "peak-tflops = 0",
            "run.toml: peak-tflops: peak_tflops must be a number from 1e-06 to 1e+06, not 0.0",
        ),
        ("dim = 0", "run.toml: dim: transformer: dim must be an integer from 1 to 65536, not 0"),
        ("heads = 5", "run.toml: heads: 5 heads do not divide 768 channels: give --head-dim"),
        ('model = "gpt"', "run.toml: model: no model is called 'gpt': choose stories260k"),
        ("lora-rank = 0", "run.toml: lora-rank: lora_rank must be an integer from 1 to 65536, not 0"),
        (
            'lora_rank = 1\nlora-targets = "x"',
            "run.toml: lora-targets: lora_targets must be names from q,k,v,o",
        ),
        ("eval-every = 3", "run.toml: eval-every: eval_every needs eval_data (--eval-data)"),
        ("no-clip = true", "run.toml: 'no-clip' is no option of the command."),
        (
            "resume-step = 3",
            "resume needs the folder of the checkpoints (--checkpoints) (with the options of",
        ),
    ],
)
def test_what_a_file_may_not_say(run: Any, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    outcome = run("train", "--config", str(path), "--device", "emulator")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("aneperf: ")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def given(tmp_path: Path, text: str, *arguments: str) -> dict[str, Any]:
    """Return the options that the command takes from a file and from its arguments."""
    path = tmp_path / "run.toml"
    path.write_text(text)
    with train.make_context("train", ["--config", str(path), *arguments]) as context:
        return given_options(context, _INSTEAD)


def test_a_chip_of_the_command_line_comes_before_a_device_of_the_file(tmp_path: Path) -> None:
    text = 'device = "ane"\n'
    assert given(tmp_path, text, "--chip", "M1") == {"chip": "M1"}
    assert name_of(_keywords(given(tmp_path, text, "--chip", "M1"))["device"]) == "emulator:h13"
    assert given(tmp_path, text, "--chip", "M1", "--device", "emulator").keys() == {"chip", "device"}


ON = (
    "as-published = true\ncompact-vocabulary = true\nclip = 1.0\nlora-rank = 2\nlora-alpha = 4\n"
    'eval-data = "e"\neval-every = 3\neval-sequences = 4\n'
)


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ([], {}),
        (
            ["--no-as-published", "--no-compact-vocabulary"],
            {"as_published": False, "compact_vocabulary": False},
        ),
        (["--no-clip"], {"clip": None}),
        (["--no-eval-data"], {"eval_data": None, "eval_every": ..., "eval_sequences": ...}),
        (
            ["--no-eval-data", "--eval-every", "7"],
            {"eval_data": None, "eval_every": 7, "eval_sequences": ...},
        ),
        (["--no-lora-rank"], {"lora_rank": None, "lora_alpha": ...}),
        (["--no-dim", "--no-telemetry"], {"dim": None, "telemetry": None}),
    ],
)
def test_the_command_line_takes_options_of_a_file_back(
    tmp_path: Path, arguments: list[str], changes: dict[str, Any]
) -> None:
    options = {**given(tmp_path, ON), **changes}
    expected = {name: value for name, value in options.items() if value is not ...}
    assert given(tmp_path, ON, *arguments) == expected
    assert len(given(tmp_path, ON)) == 8


@pytest.mark.parametrize(
    ("text", "arguments", "resume"),
    [
        ("resume = true", ["--no-resume"], False),
        ("resume-step = 6", ["--no-resume"], False),
        ("resume-step = 6", ["--resume"], True),
        ("resume = true", ["--resume-step", "3"], 3),
        ("resume = false", ["--resume-step", "3"], 3),
        ("resume-step = 6", ["--resume-step", "3"], 3),
        ("resume = true\nresume-step = 6", [], 6),
        ("resume-step = 6", ["--no-resume-step"], False),
    ],
)
def test_the_command_line_says_what_is_resumed(
    tmp_path: Path, text: str, arguments: list[str], resume: bool | int
) -> None:
    assert _keywords(given(tmp_path, text, *arguments)).get("resume", False) is resume


def test_an_option_is_not_given_and_taken_back_at_once(run: Any) -> None:
    outcome = run("train", "--clip", "1", "--no-clip")
    assert_refused(outcome, "--clip goes without --no-clip. Try 'aneperf train --help'.")


def test_an_option_of_the_command_line_is_no_fault_of_the_file(run: Any, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("steps = 3\n")
    outcome = run("train", "--config", str(tmp_path / "run.toml"), "--steps", "0")
    assert_refused(outcome, "aneperf: steps must be an integer from 1 to 99999999, not 0")


@pytest.mark.thorough
def test_a_resumed_run_drops_what_is_taken_back(run: Any, device_name: str, tmp_path: Path) -> None:
    """Resume with neither the validation nor the log of the run before."""
    np.arange(64, dtype="<u2").tofile(tmp_path / "tokens")
    arguments = ["--checkpoints", str(tmp_path / "c"), "--device", device_name]
    logged = ["--eval-data", str(tmp_path / "tokens"), "--telemetry", str(tmp_path / "log")]
    assert run("train", *SMALL, *arguments, *logged, "--steps", "3").code == 0
    size = (tmp_path / "log").stat().st_size
    outcome = run("train", *arguments, "--resume", "--steps", "6", "--no-eval-data", "--no-telemetry")
    assert outcome.code == 0
    assert "validation" not in outcome.out
    assert (tmp_path / "log").stat().st_size == size


def test_a_file_that_is_none(run: Any, tmp_path: Path) -> None:
    for path, message in ((tmp_path, "is a folder, not text"), (tmp_path / "none", "cannot read: No such")):
        outcome = run("train", "--config", str(path))
        assert outcome.code == 2
        assert message in outcome.err
