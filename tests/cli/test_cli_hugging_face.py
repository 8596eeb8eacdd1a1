"""The command with Hugging Face folders."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from aneperf.training.token_file import token_writer
from aneperf.training.vocabulary import Vocabulary
from support import hugging_face as hf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return hf.write(tmp_path / "model", hf.QWEN3, hf.tensors(hf.QWEN3))


def test_a_folder_is_trained_and_saved_as_one(run: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--steps", "1", "--seq", "16", "--device", "emulator", "--save-hf", str(out)]
    outcome = run("train", "--weights", str(folder), *arguments)
    assert outcome.code == 0
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((out / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]
    outcome = run("generate", str(out), "--tokens", "1,2", "--max-new-tokens", "3")
    assert outcome.code == 0
    assert len(outcome.out.strip().split(",")) == 5

    outcome = run("train", "--weights", str(folder), *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "out: is there and is no empty folder: name another one" in outcome.err
    outcome = run("train", "--weights", str(folder), "--as-published", *arguments[:-1], str(tmp_path / "new"))
    assert outcome.code == 2
    assert "it cannot run a model that was trained as published" in outcome.err
    (folder / "model.safetensors").unlink()
    outcome = run("train", "--weights", str(folder), *arguments[:-1], str(tmp_path / "new"))
    assert (outcome.code, outcome.out) == (2, "")
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_a_resumed_run_saves_the_tokens_and_the_tokenizer_of_its_first_folder(
    run: Any, folder: Path, tmp_path: Path
) -> None:
    tokenizer, out, checkpoints = b'{"added_tokens": [], "model": {}}', tmp_path / "out", str(tmp_path / "c")
    (folder / "tokenizer.json").write_bytes(tokenizer)
    options = ["--seq", "16", "--accumulation", "1", "--device", "emulator"]
    first = run("train", "--weights", str(folder), *options, "--checkpoints", checkpoints, "--steps", "1")
    assert first.code == 0
    folder.rename(tmp_path / "moved")
    resumed = run("train", "--checkpoints", checkpoints, "--resume", "--steps", "2", "--save-hf", str(out))
    assert resumed.code == 0
    assert (out / "tokenizer.json").read_bytes() == tokenizer
    config = json.loads((out / "config.json").read_text())
    assert (config["eos_token_id"], config["max_position_embeddings"]) == ([3, 5], 24)


def test_tokens_of_another_tokenizer_than_the_folders_are_refused(
    run: Any, folder: Path, tmp_path: Path
) -> None:
    vocab = {f"w{number}": number for number in range(hf.QWEN3["vocab_size"])}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    tokens = {"same": vocab, "other": vocab | {"x": hf.QWEN3["vocab_size"] - 1}}
    for name, tokenizer in tokens.items():
        described = Vocabulary.of("tokenizers", f"{name}.json", {n: t for t, n in tokenizer.items()}, {})
        with token_writer(tmp_path / name, described) as add:
            add(list(range(20)))
    told = ["train", "--weights", str(folder), "--steps", "1", "--seq", "16", "--device", "emulator"]
    assert run(*told, "--data", str(tmp_path / "same")).code == 0
    outcome = run(*told, "--data", str(tmp_path / "other"))
    assert (outcome.code, outcome.out) == (2, "")
    assert re.fullmatch(
        rf"aneperf: {tmp_path}/other has tokens of other.json \(40 tokens, SHA-256 .{{12}}\), and the model "
        r"was trained with tokenizer.json \(40 tokens, SHA-256 .{12}\): convert the text with the model's "
        r"tokenizer\n",
        outcome.err,
    )


def test_generate_takes_the_tokenizer_of_the_folder_and_tells_its_rate(run: Any, folder: Path) -> None:
    told = ["generate", str(folder), "--prompt", "b a", "--max-new-tokens", "4"]
    outcome = run(*told)
    assert outcome.code == 2
    assert "has no tokenizer.json: --prompt needs --tokenizer FILE" in outcome.err
    pytest.importorskip("tokenizers")
    words = {f"w{number}": number for number in range(2, hf.QWEN3["vocab_size"])}
    model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1} | words, "unk_token": "a"}
    rest = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    tokenizer = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, **rest}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"model": model}))
    outcome, numbers = run(*told), run("generate", str(folder), "--tokens", "1,0", *told[-2:])
    assert outcome.code == 0
    names = {number: name for name, number in model["vocab"].items()}
    assert outcome.out.split() == [names[int(number)] for number in numbers.out.split(",")]
    assert re.fullmatch(r"aneperf: 4 tokens, [0-9.]+ tokens/s on the CPU\n", outcome.err)
