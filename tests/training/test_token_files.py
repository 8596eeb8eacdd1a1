"""Files of tokens: what they hold is checked once, and must stay."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save_file

import aneperf
from aneperf.training.data import TokenFile, open_data
from aneperf.training.events import BatchDone, Event
from aneperf.training.token_file import token_writer
from aneperf.training.tokenizer import Bytes
from aneperf.training.vocabulary import Vocabulary
from support.training_runs import MODEL

TOKENS = np.random.default_rng(1).integers(0, MODEL.vocab, 4000).astype("<u2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    TOKENS.tofile(tmp_path / "tokens.bin")
    return tmp_path / "tokens.bin"


def test_sequences_and_description(path: Path) -> None:
    data = TokenFile(path, MODEL.vocab, MODEL.seq, seed=5)
    assert len(data) == 4000
    assert data.description == f"4000 tokens, SHA-256 {hashlib.sha256(TOKENS.tobytes()).hexdigest()[:16]}"
    _, counts = np.unique(TOKENS, return_counts=True)
    shares = counts / 4000
    assert data.unigram_entropy == pytest.approx(-(shares * np.log(shares)).sum())
    for step in range(20):
        begin = int(np.random.default_rng((5, step)).integers(0, 4000 - MODEL.seq))
        np.testing.assert_array_equal(data.sequence(step), TOKENS[begin : begin + MODEL.seq + 1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"abc", "has 3 bytes, an odd number"),
        (bytes(2 * MODEL.seq), "has 16 tokens; sequences of 16 need at least 17"),
        (TOKENS[:99].tobytes() + b"\xff\x01", "token 99 is 511; the model's vocabulary has 64"),
        (b"", "is empty, not a file of tokens"),
        (b"Once upon a time, " * 20, "is text, not a file of tokens"),
        (b"PK\x03\x04" + bytes(96), "is a zip archive, not a file of tokens: unpack it first"),
    ],
)
def test_files_that_hold_no_tokens(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(aneperf.ArgumentError, match=message):
        open_data(path, MODEL.vocab, MODEL.seq, seed=0)


def vocabulary(size: int, name: str = "t.json") -> Vocabulary:
    return Vocabulary.of("tokenizers", name, {size - 1: "a"})


@pytest.mark.parametrize("size", [MODEL.vocab, 100_000])
def test_a_described_file_is_read_as_plain_numbers_are(path: Path, tmp_path: Path, size: int) -> None:
    with token_writer(tmp_path / "described", vocabulary(size)) as add:
        add(TOKENS[:1000].tolist())
        add(TOKENS[1000:].tolist())
    data = TokenFile(tmp_path / "described", size, MODEL.seq, seed=5)
    plain = TokenFile(path, MODEL.vocab, MODEL.seq, seed=5)
    assert data.vocabulary == vocabulary(size)
    assert plain.vocabulary is None
    assert len(data) == 4000
    assert data.unigram_entropy == pytest.approx(plain.unigram_entropy)
    if size == MODEL.vocab:
        assert data.description == plain.description
    for step in range(5):
        np.testing.assert_array_equal(data.sequence(step), plain.sequence(step))
    np.testing.assert_array_equal(data.window(4000 - MODEL.seq - 1), TOKENS[-MODEL.seq - 1 :])


def described(
    tokens: dict[str, Any] | None = None, data: bytes = bytes(64), name: str = "tokens", **changes: Any
) -> bytes:
    """Return a file whose header is damaged."""
    entry = {"dtype": "U16", "shape": [32], "data_offsets": [0, 64], **(tokens or {})}
    listed = json.loads(msgspec.json.encode(vocabulary(64))) | changes
    metadata = {"aneperf": "tokens", "vocabulary": json.dumps(listed)}
    text = json.dumps({"__metadata__": metadata, name: entry}, separators=(",", ":")).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (described(name="weights"), "its one tensor must be tokens, of U16 or U32"),
        (described({"dtype": "F32", "shape": [16]}), "its one tensor must be tokens, of U16 or U32"),
        (described({"dtype": "U32"}), r"tokens, U32\[32\], has 64 bytes"),
        (described({"shape": [31]}), r"tokens, U16\[31\], has 64 bytes"),
        (described({"shape": [4, 8]}), r"tokens, U16\[4, 8\], has 64 bytes"),
        (described({"data_offsets": [0, 63]}, bytes(63)), "has 63 bytes"),
        (
            described({"data_offsets": [0, 2**40], "shape": [2**39]}),
            "take 1099511627776 bytes, and it has 64",
        ),
        (described(data=bytes(62)), "take 64 bytes, and it has 62"),
        (described(size=0), "the size of a vocabulary must be an integer from 1 to 1048576, not 0"),
        (described(size=2**30), "the size of a vocabulary must be an integer from 1 to"),
        (described(sha256="x"), "sha256 must be 64 hexadecimal digits, not 'x'"),
        (described(ends=[64]), "a token that ends a text must be an integer from 0 to 63, not 64"),
        (described(ends=[-1]), "a token that ends a text must be an integer from 0 to 63, not -1"),
        (described(ends=[1] * 65), "has 65 tokens that end a text: 64 are taken"),
        (described(name_of="x"), "unknown field `name_of`"),
        (described(library="pickle"), "Invalid enum value 'pickle'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_description(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(aneperf.ArgumentError, match=message) as refusal:
        open_data(path, MODEL.vocab, MODEL.seq, seed=0)
    assert str(refusal.value).startswith(f"{path}: is damaged: ")
    assert "\n" not in str(refusal.value)


def test_the_weights_of_a_model_are_no_tokens(path: Path) -> None:
    save_file({"tokens": TOKENS}, path)
    with pytest.raises(aneperf.ArgumentError, match="is a safetensors file, not a file of tokens"):
        open_data(path, MODEL.vocab, MODEL.seq, seed=0)


def test_tokens_of_another_vocabulary_are_refused(path: Path) -> None:
    path.unlink()
    with token_writer(path, Bytes.vocabulary) as add:
        add(list(b"a text that is long enough"))

    def opened(vocab: int, trained_with: Vocabulary | None = None) -> Any:
        return open_data(path, vocab, MODEL.seq, 0, lambda: trained_with)

    assert opened(256).sequence(0).shape == (MODEL.seq + 1,)
    assert opened(260).sequence(0).shape == (MODEL.seq + 1,)  # padded
    assert opened(32_000, Bytes.vocabulary).sequence(0).shape == (MODEL.seq + 1,)
    for vocab in (255, 262, 32_000):
        with pytest.raises(aneperf.ArgumentError) as refusal:
            opened(vocab)
        assert str(refusal.value) == (
            f"{path} has tokens of {Bytes.vocabulary}, and the model's vocabulary has {vocab}: convert the "
            "text with the model's tokenizer, or train random weights with --vocab 256"
        )
    other = vocabulary(256, "other.json")
    with pytest.raises(aneperf.ArgumentError) as refusal:
        opened(256, other)
    assert str(refusal.value) == (
        f"{path} has tokens of bytes (256 tokens, SHA-256 {Bytes.vocabulary.sha256[:12]}), and the model was "
        f"trained with other.json (256 tokens, SHA-256 {other.sha256[:12]}): convert the text with the "
        "model's tokenizer"
    )


def cut(path: Path) -> None:
    os.truncate(path, 100)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(TOKENS[::-1].tobytes())


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0\0")


@pytest.mark.parametrize("change", [cut, overwrite, grow])
def test_a_file_that_is_changed_ends_the_run_with_its_state_saved(
    path: Path, change: object, device_name: str, tmp_path: Path
) -> None:
    os.utime(path, ns=(0, 0))  # so that a change in the same tick of the clock is one, too
    assert callable(change)

    def disturb(event: Event) -> None:
        if isinstance(event, BatchDone) and event.batch == 1:
            change(path)

    with pytest.raises(aneperf.ArgumentError, match=r"tokens.bin: was (changed|cut short) while it was"):
        aneperf.train(
            MODEL,
            data=path,
            steps=20,
            accumulation=2,
            device=device_name,
            checkpoints=tmp_path / "checkpoints",
            progress=disturb,
        )
    assert [folder.name for folder in (tmp_path / "checkpoints").glob("step-*")] == ["step-00000004"]


def test_a_file_that_is_replaced_is_read_to_the_end_as_it_was(path: Path, tmp_path: Path) -> None:
    data = TokenFile(path, MODEL.vocab, MODEL.seq, seed=5)
    expected = [data.sequence(step) for step in range(4)]
    (tmp_path / "other").write_bytes(b"\0\0")
    (tmp_path / "other").replace(path)
    for step in range(4):
        np.testing.assert_array_equal(data.sequence(step), expected[step])


def test_the_command_says_it_in_a_line(
    run: Any, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipe").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    for name, message in (("pipe", "is a pipe"), (".", "is a folder"), ("/dev/zero", "is a device")):
        outcome = run("train", "--data", name, "--model", "stories260k")
        assert outcome.code == 2
        assert f"{name}: {message}, not a file of tokens" in outcome.err
        assert len(outcome.err.splitlines()) == 1
