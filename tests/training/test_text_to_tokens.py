"""Text to tokens: bytes, a tokenizer of the library, files larger than a block, and the file that is made."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import aneperf
from aneperf.training import text_to_tokens as module
from aneperf.training.text_to_tokens import SAMPLE, write_tokens
from aneperf.training.tokenizer import Bytes, open_tokenizer
from support.parameters import thorough
from support.tokenizer_files import tokenizer_bin

VOCAB = {"<unk>": 0, "once": 1, "upon": 2, "a": 3, "time": 4}


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Write a tokenizer of five words and a token that begins a whole text."""
    pytest.importorskip("tokenizers")
    path = tmp_path / "words.json"
    special = {"id": 5, "content": "<s>", "special": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    single = [begin, {"Sequence": {"id": "A", "type_id": 0}}]
    path.write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [special | flags],
                "normalizer": None,
                "pre_tokenizer": {"type": "Whitespace"},
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": single,
                    "pair": single,
                    "special_tokens": {"<s>": {"id": "<s>", "ids": [5], "tokens": ["<s>"]}},
                },
                "decoder": None,
                "model": {"type": "WordLevel", "vocab": VOCAB, "unk_token": "<unk>"},
            }
        )
    )
    return path


def written(tmp_path: Path, *texts: bytes) -> list[int]:
    paths = [tmp_path / f"{index}.txt" for index in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text)
    output = tmp_path / "out.bin"
    count = write_tokens(paths, Bytes(), output, replace=True)
    tokens = load_file(output)["tokens"]
    assert tokens.dtype == np.uint16
    assert len(tokens) == count
    return [int(token) for token in tokens]


def test_bytes(tmp_path: Path) -> None:
    text = "déjà vu\r\n🙂".encode()
    assert written(tmp_path, text, b"more") == list(text + b"more")
    assert Bytes().decode(list(text)) == text.decode()
    assert Bytes().decode([97, 300, 98]) == "a�b"


@pytest.mark.parametrize(
    "text",
    ["é" * 500, "a" * 999, "line\n" * 300, "word " * 333, "🙂" * 200 + "x", "日本\n語" * 99],
    ids=["two bytes", "one word", "lines", "words", "four bytes", "mixed"],
)
def test_long_texts_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    for size in (16, 17, 18, 19, 64):
        monkeypatch.setattr(module, "_TEXT_BLOCK", size)
        assert written(tmp_path, text.encode()) == list(text.encode())


TEXT = "".join(
    f"The {n}th line, with  spaces\n\n    and an indented one: d\u00e9j\u00e0 vu, \u65e5\u672c\n"
    for n in range(40)
)


def tokenizer_of(kind: str, folder: Path) -> Path:
    """Write a tokenizer of a kind that was trained on the text."""
    if kind == "llama2c":
        words = [f" {word}".encode() for word in ("The", "line,", "with", "spaces", "an", "one:")]
        parts = [word[:end] for word in words for end in range(2, len(word) + 1)]
        singles = [b" ", *(b"%c" % byte for byte in range(33, 127))]
        pieces = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256)), *singles, *parts]
        (folder / "t").write_bytes(tokenizer_bin(pieces))
        return folder / "t"
    if kind == "sentencepiece":
        sentencepiece = pytest.importorskip("sentencepiece")
        (folder / "text").write_text(TEXT)
        told = {"input": str(folder / "text"), "model_prefix": str(folder / "t"), "minloglevel": 2}
        sentencepiece.SentencePieceTrainer.train(**told, vocab_size=90, hard_vocab_limit=False)
        return folder / "t.model"
    library = pytest.importorskip("tokenizers")
    tokenizer = library.Tokenizer(library.models.BPE())
    if kind in ("metaspace", "no words"):
        tokenizer.pre_tokenizer = library.pre_tokenizers.Metaspace()
    else:
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=kind == "prefixed bytes")
    trainer = library.trainers.BpeTrainer(vocab_size=300, show_progress=False)
    tokenizer.train_from_iterator([TEXT], trainer)
    if kind == "no words":  # as Llama 2's: merges alone divide a text
        steps = [library.normalizers.Prepend("\u2581"), library.normalizers.Replace(" ", "\u2581")]
        tokenizer.normalizer = library.normalizers.Sequence(steps)
        tokenizer.pre_tokenizer = None
    tokenizer.save(str(folder / "t.json"))
    return folder / "t.json"


TEXTS = {
    "": TEXT,
    "two spaces": "  ".join(TEXT.split()),
    "eight spaces": (" " * 8).join(TEXT.split()),
    "tabs": "\t\t".join(TEXT.split()),
    "CRLF": "\r\n".join(TEXT.split()),
}


@pytest.mark.parametrize(
    "case",
    [
        *("llama2c", "metaspace", "bytes, CRLF", "bytes, two spaces"),
        *thorough(
            "sentencepiece", "bytes", "prefixed bytes", "no words", "bytes, tabs", "bytes, eight spaces"
        ),
        *thorough("llama2c, two spaces", "no words, two spaces"),
    ],
)
def test_chunks_have_the_tokens_of_the_whole_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    kind, _, spaces = case.partition(", ")
    text = TEXTS[spaces]
    tokenizer = open_tokenizer(tokenizer_of(kind, tmp_path))
    (tmp_path / "text").write_bytes(text.encode())
    monkeypatch.setattr(module, "_TEXT_BLOCK", 300)
    write_tokens([tmp_path / "text"], tokenizer, tmp_path / "out.bin")
    found, expected = load_file(tmp_path / "out.bin")["tokens"], tokenizer.encode(text, whole=False)
    assert found.tolist() == list(expected)


def test_memory_does_not_grow(tmp_path: Path) -> None:
    longest = 0

    class Watching(Bytes):
        def encode(self, text: str, *, whole: bool) -> Sequence[int]:
            nonlocal longest
            longest = max(longest, len(text))
            assert not whole
            return super().encode(text, whole=whole)

    (tmp_path / "t").write_bytes(b"many words\n" * 300_000)
    assert write_tokens([tmp_path / "t"], Watching(), tmp_path / "out.bin") == 3_300_000
    assert 0 < longest <= 1 << 20


def test_a_tokenizer_of_the_library(tmp_path: Path, words: Path) -> None:
    tokenizer = open_tokenizer(words)
    assert tokenizer.vocabulary.size == 6
    assert tokenizer.vocabulary.ends == (5,)
    assert tokenizer.encode("once upon", whole=True) == [5, 1, 2]
    (tmp_path / "t").write_text("once upon a time\nonce more")
    assert write_tokens([tmp_path / "t"], tokenizer, tmp_path / "out.bin") == 6
    assert load_file(tmp_path / "out.bin")["tokens"].tolist() == [1, 2, 3, 4, 1, 0]
    assert tokenizer.decode([5, 1, 2]) == "once upon"


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.bin"
    (tmp_path / "latin").write_bytes(b"abc\n" * 3 + b"caf\xe9 noir")
    (tmp_path / "empty").write_bytes(b"")
    monkeypatch.setattr(module, "_TEXT_BLOCK", 8)
    for texts, message in [
        (["latin"], "latin is not UTF-8 text: byte 15 is 0xe9"),
        (["none"], "none: cannot read: No such file"),
        (["empty"], "there is no text in them"),
        ([""], "is a folder, not text"),
    ]:
        with pytest.raises(aneperf.ArgumentError, match=message):
            write_tokens([tmp_path / text for text in texts], Bytes(), output)
        assert not output.exists()
    small = Larger(4, first=0)
    with pytest.raises(
        aneperf.ArgumentError, match=r"bytes \(4 tokens, .*\) made the token 99 of a text: it is damaged"
    ):
        write_tokens([tmp_path / "latin"], small, output)
    assert {path.name for path in tmp_path.iterdir()} == {"latin", "empty"}


class Larger(Bytes):
    """A vocabulary of another size, in which the numbers of bytes begin at `first`."""

    def __init__(self, size: int, first: int) -> None:
        self.vocabulary = msgspec.structs.replace(Bytes.vocabulary, size=size)
        self._first = first

    def encode(self, text: str, *, whole: bool) -> list[int]:
        return [self._first + byte for byte in text.encode()]


@pytest.mark.parametrize(("size", "bits"), [(65_536, 16), (65_537, 32), (151_936, 32)])
def test_vocabularies_beyond_16_bits_take_32(tmp_path: Path, size: int, bits: int) -> None:
    (tmp_path / "t").write_bytes(b"\xc3\xa9!")
    last = size - 0xC4
    write_tokens([tmp_path / "t"], Larger(size, last), tmp_path / "out.bin")
    tokens = load_file(tmp_path / "out.bin")["tokens"]
    assert tokens.dtype == np.dtype(f"uint{bits}")
    assert tokens.tolist() == [size - 1, last + 0xA9, last + ord("!")]


def test_the_file_describes_its_vocabulary_and_ends_with_plain_numbers(tmp_path: Path) -> None:
    write_tokens([SAMPLE], Bytes(), tmp_path / "out.bin")
    with safe_open(tmp_path / "out.bin", "np") as file:
        described = json.loads(file.metadata()["vocabulary"])
    digest = hashlib.sha256(b"".join(b"%d 1 %c" % (byte, byte) for byte in range(256))).hexdigest()
    assert described == {
        "library": "bytes",
        "name": "bytes",
        "size": 256,
        "sha256": digest,
        "ends": [],
    }
    content = (tmp_path / "out.bin").read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    assert header % 64 == 0
    np.testing.assert_array_equal(np.frombuffer(content[header:], "<u2"), list(SAMPLE.read_bytes()))


def test_a_file_is_replaced_only_on_request(tmp_path: Path) -> None:
    assert written(tmp_path, b"one") == list(b"one")
    with pytest.raises(aneperf.ResultFileError, match=r"out\.bin: is there: .*replace it with --force"):
        write_tokens([SAMPLE], Bytes(), tmp_path / "out.bin")
    assert load_file(tmp_path / "out.bin")["tokens"].tolist() == list(b"one")
    assert written(tmp_path, b"two") == list(b"two")


def test_no_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(aneperf.ArgumentError, match=r"t\.json: is no tokenizer: "):
        open_tokenizer(tmp_path / "t.json")
    with pytest.raises(aneperf.ArgumentError, match=r"none\.json: cannot read: No such file"):
        open_tokenizer(tmp_path / "none.json")
