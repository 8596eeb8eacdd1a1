"""The command with Hugging Face folders."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from aneperf.training.token_file import token_writer
from aneperf.training.vocabulary import Vocabulary
from support import hugging_face as hf
from support.command import assert_refused
from support.tokenizer_files import words_json

VOCAB = {"a": 0, "b": 1} | {f"w{number}": number for number in range(2, hf.QWEN3["vocab_size"])}


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
    tokenizer, checkpoints = b'{"added_tokens": [], "model": {}}', str(tmp_path / "c")
    (folder / "tokenizer.json").write_bytes(tokenizer)
    options = ["--seq", "16", "--accumulation", "1", "--device", "emulator"]
    first = run("train", "--weights", str(folder), *options, "--checkpoints", checkpoints, "--steps", "1")
    assert first.code == 0
    folder.rename(tmp_path / "moved")
    for name, begin in (
        ("one", ["--checkpoints", checkpoints, "--resume"]),
        ("two", ["--weights", checkpoints]),
    ):
        out = tmp_path / name
        assert run("train", *begin, "--steps", "2", "--device", "emulator", "--save-hf", str(out)).code == 0
        assert (out / "tokenizer.json").read_bytes() == tokenizer
        config = json.loads((out / "config.json").read_text())
        assert (config["eos_token_id"], config["max_position_embeddings"]) == ([3, 5], 24)


def test_a_tokenizer_whose_tokens_cannot_be_listed_is_named(run: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": {}}')
    with token_writer(tmp_path / "tokens", Vocabulary.of("bytes", "bytes", {39: "a"}, {})) as add:
        add(list(range(20)))
    told = ["--steps", "1", "--seq", "16", "--device", "emulator", "--data", str(tmp_path / "tokens")]
    outcome = run("train", "--weights", str(folder), *told)
    assert_refused(outcome, f"aneperf: {folder}/tokenizer.json: its tokens cannot be listed: Object missing")


def test_tokens_of_another_tokenizer_than_the_folders_are_refused(
    run: Any, folder: Path, tmp_path: Path
) -> None:
    vocab = {f"w{number}": number for number in range(hf.QWEN3["vocab_size"])}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    tokens = {"same": vocab, "other": vocab | {"x": hf.QWEN3["vocab_size"] - 1}}
    for name, tokenizer in tokens.items():
        described = Vocabulary.of("tokenizers", f"{name}.json", {n: t for t, n in tokenizer.items()})
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
    assert "has no tokenizer: --prompt needs --tokenizer FILE" in outcome.err
    pytest.importorskip("tokenizers")
    (folder / "tokenizer.json").write_text(words_json(VOCAB))
    outcome, numbers = run(*told), run("generate", str(folder), "--tokens", "1,0", *told[-2:])
    assert outcome.code == 0
    names = {number: name for name, number in VOCAB.items()}
    assert outcome.out.split() == [names[int(number)] for number in numbers.out.split(",")]
    assert re.fullmatch(r"aneperf: 4 tokens, [0-9.]+ tokens/s on the CPU\n", outcome.err)


def test_a_text_without_a_prompt_begins_as_the_model_says_or_with_a_line_feed(run: Any, folder: Path) -> None:
    pytest.importorskip("tokenizers")
    told = ["generate", str(folder), "--max-new-tokens", "3", "--ignore-eos"]
    names = {number: name for name, number in VOCAB.items()}
    (folder / "tokenizer.json").write_text(words_json(VOCAB))
    (folder / "config.json").write_text(json.dumps({**hf.QWEN3, "bos_token_id": 7}))
    for begin, generation in ((7, {}), (9, {"bos_token_id": 9}), (7, {"bos_token_id": None})):
        (folder / "generation_config.json").write_text(json.dumps(generation))
        numbers = run(*told, "--tokens", str(begin)).out.split(",")
        assert run(*told).out.split() == [names[int(number)] for number in numbers]
    (folder / "generation_config.json").unlink()
    (folder / "config.json").write_text(json.dumps(hf.QWEN3))
    lines = {**{name: number for name, number in VOCAB.items() if number != 4}, "\n": 4}
    whole = json.loads(words_json(lines)) | {"pre_tokenizer": None}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    words = [names[int(number)] for number in run(*told, "--tokens", "4").out.split(",")]
    assert run(*told).out.split() == [word for word in words if word != names[4]]


def test_a_text_that_cannot_begin_is_refused_before_the_model_is_read(run: Any, folder: Path) -> None:
    pytest.importorskip("tokenizers")
    (folder / "tokenizer.json").write_text(words_json(VOCAB))
    (folder / "model.safetensors").unlink()
    told = ["generate", str(folder)]
    assert_refused(
        run(*told), "has no token that begins a text, and none for a line feed: give --prompt TEXT"
    )
    assert_refused(run(*told, "--prompt", " "), "the prompt is empty: the tokenizer has no token for it")
    assert_refused(run(*told, "--prompt", "a"), "has no model.safetensors")


def test_generate_ends_with_a_token_that_ends_a_text(run: Any, folder: Path) -> None:
    pytest.importorskip("tokenizers")
    told = ["generate", str(folder), "--max-new-tokens", "12"]
    endless = [int(n) for n in run(*told, "--tokens", "1,0", "--ignore-eos").out.split(",")]
    assert len(endless) == 14
    new = endless[2:]
    end = next(token for token in new[3:] if new.index(token) >= 3)
    until = endless[: endless.index(end) + 1]
    names = {number: name for name, number in VOCAB.items()}
    words = [names[token] for token in until[:-1]]
    without = {**hf.QWEN3, "eos_token_id": None}
    special = words_json({**{n: t for n, t in VOCAB.items() if t != end}, "<|im_end|>": end}, ["<|im_end|>"])

    def told_by(config: dict[str, Any], generation: str) -> str:
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "generation_config.json").write_text(generation)
        return run(*told, "--tokens", "1,0").out.strip()

    expected = ",".join(map(str, until))
    assert told_by({**hf.QWEN3, "eos_token_id": [39, end]}, "{}") == expected
    assert told_by({**hf.QWEN3, "eos_token_id": new[0]}, json.dumps({"eos_token_id": end})) == expected
    (folder / "tokenizer.json").write_text(words_json(VOCAB))
    assert run(*told, "--prompt", "b a").out.split() == words
    (folder / "tokenizer.json").write_text(special)
    assert told_by(without, '{"eos_token_id": null}') == ",".join(map(str, endless))
    assert run(*told, "--prompt", "b a").out.split() == words
    assert "12 tokens" in run(*told, "--prompt", "b a", "--ignore-eos").err

    for content in ('{"eos_token_id": "x"}', '{"eos_token_id": 1e99}', "[]", "{", '{"a": 1, "a": 2}'):
        (folder / "generation_config.json").write_text(content)
        outcome = run(*told, "--tokens", "1,0")
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith(f"aneperf: {folder / 'generation_config.json'}: ")
        assert outcome.err.count("\n") == 1
    (folder / "generation_config.json").unlink()
    (folder / "generation_config.json").symlink_to("/etc/passwd")
    assert "leads out of the folder" in run(*told, "--tokens", "1,0").err


def test_generate_and_training_take_the_tokenizer_of_a_checkpoint(
    run: Any, folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tokenizers")
    (folder / "tokenizer.json").write_text(words_json(VOCAB))
    told = ["--seq", "16", "--steps", "1", "--accumulation", "1", "--device", "emulator"]
    assert run("train", "--weights", str(folder), *told, "--checkpoints", str(tmp_path / "c")).code == 0
    new = ["--max-new-tokens", "9"]
    endless = run("generate", str(tmp_path / "c"), "--tokens", "1,0", *new, "--ignore-eos").out.strip()
    end = int(endless.split(",")[5])
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    assert run("train", "--weights", str(folder), *told, "--checkpoints", str(tmp_path / "d")).code == 0
    shutil.rmtree(folder)
    for model in (tmp_path / "d", tmp_path / "d" / "step-00000001"):
        numbers = run("generate", str(model), "--tokens", "1,0", *new).out.strip()
        assert endless.startswith(numbers)
        assert numbers.endswith(f",{end}")
        words = run("generate", str(model), "--prompt", "b a", *new).out.split()
        names = {number: name for name, number in VOCAB.items()}
        assert words == [names[int(number)] for number in numbers.split(",")[:-1]]
    out = str(tmp_path / "out")
    assert run("train", "--weights", str(tmp_path / "d"), *told, "--save-hf", out).code == 0
    assert (tmp_path / "out" / "tokenizer.json").read_text() == words_json(VOCAB)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == end
    (tmp_path / "d" / "step-00000001" / "tokenizer.json").write_text(words_json({**VOCAB, "c": 39}))
    for options in ([], ["--ignore-eos"]):
        outcome = run("generate", str(tmp_path / "d"), "--prompt", "b a", *options)
        assert_refused(outcome, "tokenizer.json: is damaged: its checksum is not the one in checkpoint.json")


def test_generate_reads_the_sentencepiece_model_of_a_folder(run: Any, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "corpus").write_text("a b ab ba\n" * 9)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus"),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=12,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    config = {**hf.QWEN3, "vocab_size": processor.vocab_size(), "eos_token_id": None}
    folder = hf.write(tmp_path / "model", config, hf.tensors(config))
    (tmp_path / "tokenizer.model").rename(folder / "tokenizer.model")
    begin = ",".join(map(str, [processor.bos_id(), *processor.encode("a b")]))
    told = ["generate", str(folder), "--max-new-tokens", "5", "--ignore-eos"]
    numbers = [int(token) for token in run(*told, "--tokens", begin).out.split(",")]
    assert run(*told, "--prompt", "a b").out == processor.decode(numbers) + "\n"
