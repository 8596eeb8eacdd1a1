"""The verbs generate and data."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import aneperf
from aneperf.training.llama2c import save_llama2c
from aneperf.training.models import random_parameters
from aneperf.training.text_to_tokens import SAMPLE
from aneperf.training.token_file import token_writer
from aneperf.training.vocabulary import Vocabulary
from support.command import assert_refused, small_file
from support.tokenizer_files import tokenizer_bin
from support.training_runs import MODEL, RUN, SHAPE, SMALL


def test_generate(run: Any, device_name: str, tmp_path: Path) -> None:
    """Offer a model that has learned to count: its file, its folder of checkpoints, and one checkpoint."""
    tokens, model, folder = tmp_path / "t.bin", tmp_path / "m.bin", tmp_path / "c"
    np.tile(np.frombuffer(b"abcdefgh", np.uint8), 50).astype("<u2").tofile(tokens)
    shape = [*SHAPE, "--vocab", "128"]
    options = ["--data", str(tokens), "--save", str(model), "--checkpoints", str(folder), "--lr", "0.03"]
    options += ["--device", device_name, "--pipeline", "dynamic", "--steps", "120", "--accumulation", "1"]
    outcome = run("train", *shape, *options)
    assert outcome.code == 0
    for source in (model, folder, folder / "step-00000120"):
        outcome = run("generate", str(source), "--tokens", "97,98", "--max-new-tokens", "5")
        assert (outcome.code, outcome.out) == (0, "97,98,99,100,101,102,103\n")
        text = run("generate", str(source), "--prompt", "ab", "--tokenizer", "bytes", "--max-new-tokens", "5")
        assert (text.code, text.out) == (0, "abcdefg\n")
    drawn = ["generate", str(model), "--tokens", "97", "--temperature", "2", "--seed", "3"]
    assert run(*drawn).out == run(*drawn).out != run(*drawn[:-1], "4").out


@pytest.mark.parametrize("end", [1, 2])
def test_generate_ends_a_text_as_llama2c_does(run: Any, tmp_path: Path, end: int) -> None:
    """Give a model that always predicts the token that begins or the one that ends a text."""
    parameters = random_parameters(MODEL)
    for name, value in parameters.items():
        if name.endswith((".wo", ".w2")):
            value[:] = 0
    parameters["embedding"][:] = 1
    parameters["classifier"] = np.zeros_like(parameters["embedding"])
    parameters["classifier"][end] = 1
    save_llama2c(tmp_path / "m.bin", MODEL, parameters)
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", b" ", b"a", *(b"%c" % (60 + n) for n in range(59))]
    (tmp_path / "t.bin").write_bytes(tokenizer_bin(pieces))
    told = ["generate", str(tmp_path / "m.bin"), "--max-new-tokens", "3"]
    assert run(*told, "--tokens", "4").out == f"4,{end},{end},{end}\n"
    told += ["--prompt", "a", "--tokenizer", str(tmp_path / "t.bin")]
    outcome = run(*told)
    assert (outcome.code, outcome.out, outcome.err) == (0, "a\n", "")
    assert "3 tokens" in run(*told, "--ignore-eos").err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "no tokenizer: --prompt needs --tokenizer FILE or --tokenizer bytes; --tokens 1,2,3 needs none",
        ),
        (["--tokens", "1", "--prompt", "a"], "takes --prompt TEXT"),
        (["--prompt", "a"], "--prompt needs --tokenizer"),
        (["--prompt", "", "--tokenizer", "bytes"], "the prompt is empty"),
        (["--tokens", "1,x"], "--tokens takes numbers like 1,2,3, not '1,x'"),
        (["--tokens", "64"], "token 64 is not in the vocabulary of 64"),
        (["--tokens", "-1"], "token -1 is not in the vocabulary"),
        (["--tokens", "1", "--top-p", "0"], "top_p must be above 0 and at most 1"),
        (
            ["--tokens", ",".join("1" * 17)],
            "the prompt has 17 tokens, and the model takes sequences of 16: give a shorter one",
        ),
    ],
)
def test_what_cannot_be_generated(run: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    path = tmp_path / "m.bin"
    save_llama2c(path, MODEL, random_parameters(MODEL))
    assert_refused(run("generate", str(path), *arguments), message)


def test_generate_from_what_is_no_model(run: Any, device_name: str, tmp_path: Path) -> None:
    assert_refused(
        run("generate", str(tmp_path), "--tokens", "1"), "has neither a config.json nor a checkpoint"
    )
    assert_refused(run("generate", str(tmp_path / "none"), "--tokens", "1"), "cannot read")
    assert list(tmp_path.iterdir()) == []
    options = {**RUN, "steps": 1, "as_published": True, "checkpoints": tmp_path / "c"}
    aneperf.train(MODEL, device=device_name, **options)
    assert_refused(run("generate", str(tmp_path / "c"), "--tokens", "1"), "was trained as published")


def test_what_a_model_writes_controls_no_terminal(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(MODEL, vocab=256)
    save_llama2c(tmp_path / "m.bin", model, random_parameters(model))
    told = [
        "generate",
        str(tmp_path / "m.bin"),
        "--prompt",
        "a\x1b[2J\tb\n",
        "--tokenizer",
        "bytes",
        "--max-new-tokens",
        "1",
    ]
    assert run(*told).out.startswith("a\x1b[2J\tb\n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(*told).out.startswith("a\N{REPLACEMENT CHARACTER}[2J\tb\n")


def test_data(run: Any, tmp_path: Path) -> None:
    text, output = small_file(tmp_path, b"hello"), tmp_path / "out.bin"
    outcome = run("data", text, text, "--tokenizer", "bytes", "--output", str(output))
    described = re.escape(f"{output}: 10 tokens of bytes (256 tokens, SHA-256 ") + r"[0-9a-f]{12}\)\n"
    assert outcome.code == 0
    assert re.fullmatch(described, outcome.out)
    assert load_file(output)["tokens"].tolist() == list(b"hellohello")
    printed = run("data", text, "--tokenizer", "bytes", "-o", "-")
    assert printed.code == 0
    assert printed.out.endswith(" h\0e\0l\0l\0o\0")
    refused = run("data", str(tmp_path / "none"), "--tokenizer", "bytes", "--output", str(tmp_path / "new"))
    assert_refused(refused, "none: cannot read")
    again = run("data", text, "--tokenizer", "bytes", "--output", str(output))
    assert_refused(again, "out.bin: is there: name another file, or replace it with --force")
    forced = run("data", text, "--tokenizer", "bytes", "--output", str(output), "--force")
    assert forced.code == 0
    assert load_file(output)["tokens"].tolist() == list(b"hello")
    plain = small_file(tmp_path, b"\0\1" * 40)
    refused = run("data", "--sample", "--output", plain, "--force")
    assert_refused(refused, "is there and is of an unknown kind, not a file of tokens: name another file, or")


def test_the_sample_is_trained_and_other_vocabularies_are_refused(
    run: Any, device_name: str, tmp_path: Path
) -> None:
    output = str(tmp_path / "sample.bin")
    assert run("data", "--sample", "-o", output).code == 0
    told = ["train", *SMALL, "--device", device_name, "--data", output]
    assert run(*told, "--vocab", "256").code == 0
    outcome = run(*told, "--vocab", "256", "--compact-vocabulary")
    assert outcome.code == 0
    used = len(set(SAMPLE.read_bytes()))
    assert f"Compact vocabulary: the loss is over the {used} of 256 tokens that the data has" in outcome.out
    folder = str(tmp_path / "c")
    assert run(*told, "--vocab", "256", "--checkpoints", folder).code == 0
    drawn = run("generate", folder, "--max-new-tokens", "3")
    numbers = run("generate", folder, "--tokens", "10", "--max-new-tokens", "3").out.split(",")
    assert drawn.out == bytes(int(number) for number in numbers).decode(errors="replace") + "\n"
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"%c" % n for n in range(32, 127))]
    (tmp_path / "t.bin").write_bytes(tokenizer_bin(pieces))
    refused = run("generate", folder, "--prompt", "a", "--tokenizer", str(tmp_path / "t.bin"))
    assert_refused(refused, "t.bin has the tokens of t.bin (98 tokens, SHA-256 ")
    assert_refused(refused, "was trained with bytes (256 tokens, SHA-256 ")
    other = Vocabulary.of("tokenizers", "t.json", {255: "a"})
    with token_writer(tmp_path / "other", other) as add:
        add([1] * 20)
    outcome = run("train", "--weights", folder, "--device", device_name, "--data", str(tmp_path / "other"))
    assert_refused(
        outcome, f"has tokens of {other}, and the model was trained with bytes (256 tokens, SHA-256 "
    )
    outcome = run(*told)
    assert_refused(outcome, "has tokens of bytes (256 tokens, SHA-256 ")
    assert_refused(outcome, "and the model's vocabulary has 64: convert the text with the model's tokenizer")
    assert_refused(
        run(*told[:-2], "--eval-data", output), "sample.bin has tokens of bytes (256 tokens, SHA-256 "
    )
