"""The help of every verb, and the answer to wrong usage."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import aneperf
from aneperf.cli.main import SECTIONS, app
from aneperf.probes.registry import PROBES, VERBS
from aneperf.training.options import TrainOptions


@pytest.fixture(autouse=True)
def _terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_version(run: Any) -> None:
    assert run("--version").out == f"aneperf {aneperf.__version__}\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_help_lists_every_verb_in_its_section(run: Any, option: str) -> None:
    outcome = run(option)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert max(map(len, lines)) <= 80
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line[2:3].isalpha()]
    positions = [lines.index(f"{title}:") for title in SECTIONS]
    assert positions == sorted(positions)
    assert [word for word in listed if word in app.commands] == list(app.commands)
    assert {"info", "lint", "compare", "train", *PROBES} <= set(app.commands)
    assert "..." not in outcome.out.partition("Measure:")[2]


def test_without_arguments_the_help_is_an_error(run: Any) -> None:
    outcome = run()
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == run("--help").out


@pytest.mark.parametrize("verb", app.commands)
def test_the_help_of_a_verb(run: Any, verb: str) -> None:
    outcome = run(verb, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: aneperf {verb} [OPTIONS]")
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert run(verb, "-h") == outcome
    named = {word.strip(",") for word in outcome.out.split() if word.startswith("--")}
    expected = {"--help"}
    if verb in VERBS:
        expected |= {"--device", "--chip", "--output"}
        expected |= {f"--{option.name}" for option in VERBS[verb].verb_options}
    if verb == "train":
        expected |= {"--chip", "--dim", "--head-dim", "--plot", "--save", "--lr", "--resume-step"}
        expected |= {f"--{f.name}".replace("_", "-") for f in fields(TrainOptions) if f.metadata}
    assert named >= expected


def test_the_readme_has_every_verb() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [
        verb for verb in app.commands if f"`{verb}`" not in readme and f"aneperf {verb}" not in readme
    ] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "there is no verb 'fly'. Try 'aneperf --help'."),
        (["peek"], "there is no verb 'peek'. Did you mean 'peak'? Try 'aneperf --help'."),
        (["--fast"], "'aneperf --help'"),
        (["peak", "--buget", "3"], "--budget"),
        (["peak", "--budget", "long"], "'long' is not a valid float"),
        (["peak", "--budget"], "option '--budget' requires an argument. Try 'aneperf peak --help'."),
        (["peak", "--ports", "int8"], "'int8' is not one of 'fp32', 'fp16'. Try 'aneperf peak --help'."),
        (["peak", "x"], "unexpected extra argument"),
        (["compare"], "compare takes two files"),
        (["data", "x", "-o", "y"], "missing option '--tokenizer', FILE or bytes"),
        (["data", "-o", "y"], "give text files, or --sample"),
        (["data", "x", "--sample", "-o", "y"], "give text files, or --sample"),
        (["train", "--decay", "linear"], "'linear' is not one of 'constant', 'cosine'"),
        (["generate", "m.bin", "--max-new-tokens", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run: Any, arguments: list[str], message: str) -> None:
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.startswith("aneperf: ")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def complete(instruction: str, **variables: str) -> str:
        command = [sys.executable, "-m", "aneperf"]
        environment["_ANEPERF_COMPLETE"] = f"{shell}_{instruction}"
        return subprocess.run(
            command, env={**environment, **variables}, capture_output=True, text=True, check=True
        ).stdout

    assert "_ANEPERF_COMPLETE" in complete("source")
    words = {"COMP_WORDS": "aneperf pe", "COMP_CWORD": "pe" if shell == "fish" else "1"}
    assert "peak" in complete("complete", **words)
