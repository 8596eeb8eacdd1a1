"""Options from a TOML file: which come first, where paths lead, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.training_runs import MODEL

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
        ("lr = 1" + "0" * 400, "learning_rate must be a number from 1e-30 to 1e+30, not inf"),
        ("lr = nan", "learning_rate must be a number from 1e-30 to 1e+30, not nan"),
        ("clip = 2026-01-01", "clip must be a number, not datetime.date(2026, 1, 1)"),
        ('decay = "linear"', "decay must be one of constant, cosine, not 'linear'"),
        ("decay = {a = 1}", "decay must be one of constant, cosine, not {'a': 1}"),
        ("lr = 1\nlearning-rate = 2", "learning-rate is an option that stands there already, under another"),
        ("steps 3", "is no TOML: Expected '=' after a key"),
        ("steps = 1\nsteps = 2", "is no TOML: Cannot overwrite a value"),
        ("a = " + "[" * 100_000, "is no TOML: "),
        ("steps = " + "9" * 5000, "run.toml: "),
        ("\udcff = 1", "run.toml: "),
        ("steps = 0", "steps must be an integer from 1 to 99999999, not 0"),
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


def test_a_file_that_is_none(run: Any, tmp_path: Path) -> None:
    for path, message in ((tmp_path, "is a folder, not text"), (tmp_path / "none", "cannot read: No such")):
        outcome = run("train", "--config", str(path))
        assert outcome.code == 2
        assert message in outcome.err
