"""Tokenizers: llama2.c's against its algorithm, SentencePiece's, and files that make a library fail."""

import json
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

import aneperf
from aneperf.training import tokenizer_library
from aneperf.training.llama2c_tokenizer import Llama2cTokenizer
from aneperf.training.text_to_tokens import write_tokens
from aneperf.training.tokenizer import Tokenizer, open_tokenizer
from aneperf.training.vocabulary import file_name, vocabulary_of_json
from support.tokenizer_files import tokenizer_bin

BYTES = [b"<0x%02X>" % byte for byte in range(256)]
PIECES = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *BYTES]
LETTERS = [b" ", b"o", b"n", b"c", b"e", b"\n", "é".encode(), b"t", b"."]
MERGED = [b"on", b"ce", b" on", b"once", b" once", b"  ", b"    ", b"ee", b"eee", b"to", b"ot"]


def llama2c_encode(pieces: Sequence[bytes], scores: Sequence[float], text: str) -> list[int]:
    """Encode as run.c does: the best pair of all, again and again."""
    ids = {piece: index for index, piece in reversed(list(enumerate(pieces)))}
    tokens: list[int] = []
    for character in f" {text}":
        encoded = character.encode()
        tokens += [ids[encoded]] if encoded in ids else [byte + 3 for byte in encoded]
    while True:
        best, place, merged = -1e10, -1, -1
        for index in range(len(tokens) - 1):
            id = ids.get(pieces[tokens[index]] + pieces[tokens[index + 1]], -1)
            if id != -1 and scores[id] > best:
                best, place, merged = scores[id], index, id
        if place < 0:
            return tokens
        tokens[place : place + 2] = [merged]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


@pytest.mark.parametrize("more", [[], [b"e t"], [b"n o", b"\n\n"]], ids=["words", "crossing", "lines"])
def test_llama2c_tokenizer_encodes_as_llama2c(folder: Path, more: list[bytes]) -> None:
    pieces = [*PIECES, *LETTERS, *MERGED, *more]
    scores = [-float(index % 7) for index in range(len(pieces))]  # with ties
    path = folder / f"{len(more)}.bin"
    path.write_bytes(tokenizer_bin(pieces, scores))
    tokenizer = Llama2cTokenizer(path)

    @given(st.text(alphabet="once t.é\n日", min_size=1, max_size=40))
    def check(text: str) -> None:
        expected = llama2c_encode(pieces, scores, text)
        assert tokenizer.encode(text, whole=False) == expected
        assert tokenizer.encode(text, whole=True) == [1, *expected]
        assert tokenizer.decode([1, *expected]) == text

    check()


def test_a_long_word_is_encoded_as_well(folder: Path) -> None:
    (folder / "long.bin").write_bytes(tokenizer_bin([*PIECES, b" ", b"e", b"ee", b"eeee"]))
    tokens = Llama2cTokenizer(folder / "long.bin").encode("e" * 100_001, whole=False)
    assert tokens == [259, *[262] * 25_000, 260]


def test_a_vocabulary_without_bytes(folder: Path) -> None:
    (folder / "few.bin").write_bytes(tokenizer_bin([b"<unk>", b"<s>", b"</s>", b" ", b"a"]))
    tokenizer = open_tokenizer(folder / "few.bin")
    assert tokenizer.vocabulary.size == 5
    assert tokenizer.vocabulary.ends == (1, 2)
    assert tokenizer.encode("aa", whole=True) == [1, 3, 4, 4]
    with pytest.raises(aneperf.ArgumentError, match="has 5 tokens, and none for bytes of ' z'"):
        tokenizer.encode("z", whole=False)
    with pytest.raises(aneperf.ArgumentError, match="has 5 tokens, and none of number 5"):
        tokenizer.decode([5])


def test_text_is_converted_with_it(folder: Path, run: Any) -> None:
    pieces = [*PIECES, *LETTERS, *MERGED]
    (folder / "t.bin").write_bytes(tokenizer_bin(pieces))
    (folder / "text").write_text("once on\n")
    outcome = run(
        "data", str(folder / "text"), "--tokenizer", str(folder / "t.bin"), "-o", str(folder / "out")
    )
    assert outcome.code == 0
    assert re.search(rf"tokens of t\.bin \({len(pieces)} tokens, SHA-256 [0-9a-f]{{12}}\)\n", outcome.out)
    expected = llama2c_encode(pieces, [-float(index) for index in range(len(pieces))], "once on\n")
    assert load_file(folder / "out")["tokens"].tolist() == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tokenizer_bin(PIECES)[:-1], r"token 258 has 6 bytes .* and the file 5 more: it is damaged"),
        (tokenizer_bin(PIECES) + b"\0\0", "ends within token 259"),
        (struct.pack("<I", 2) + tokenizer_bin([b"a", b"b", b"c", b"ddd"])[4:], "token 3 has 3 bytes"),
        (
            tokenizer_bin([b"a", b"b", b"c", b"d"], [0, 0, 0, float("nan")]),
            "token 3 has 1 bytes and the score nan",
        ),
        (
            tokenizer_bin([b"a", b"b", b"c"]) + struct.pack("<fI", 0, 2**32 - 1),
            "token 3 has 4294967295 bytes",
        ),
    ],
)
def test_a_damaged_llama2c_tokenizer(folder: Path, content: bytes, message: str) -> None:
    (folder / "damaged.bin").write_bytes(content)
    with pytest.raises(aneperf.ArgumentError, match=message):
        open_tokenizer(folder / "damaged.bin")


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_sentencepiece_model(folder: Path, kind: str) -> None:
    train = pytest.importorskip("sentencepiece").SentencePieceTrainer.train
    (folder / "corpus").write_text("once upon a time there was a déjà vu\nand once more there was\n" * 20)
    train(
        input=str(folder / "corpus"),
        model_prefix=str(folder / kind),
        vocab_size=300,
        model_type=kind,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    tokenizer = open_tokenizer(folder / f"{kind}.model")
    assert tokenizer.vocabulary.size >= 259
    assert tokenizer.vocabulary.ends == (1, 2)
    text = "there was a time 日本"
    tokens = tokenizer.encode(text, whole=True)
    assert tokens[0] == 1
    assert list(tokens[1:]) == list(tokenizer.encode(text, whole=False))
    assert max(tokens) < tokenizer.vocabulary.size
    assert tokenizer.decode(tokens) == text
    with pytest.raises(aneperf.ArgumentError, match="cannot decode tokens: "):
        tokenizer.decode([tokenizer.vocabulary.size])
    check_other_files_of_the_same_vocabulary(folder, tokenizer, str(folder / f"{kind}.model"))


def check_other_files_of_the_same_vocabulary(folder: Path, tokenizer: Tokenizer, model: str) -> None:
    """Write the vocabulary as llama2.c and as transformers do, and compare the digests."""
    processor = pytest.importorskip("sentencepiece").SentencePieceProcessor(model_file=model)
    pieces = [processor.id_to_piece(token) for token in range(processor.vocab_size())]
    exported = [piece.replace("▁", " ").encode() for piece in pieces]
    exported[1:3] = [b"\n<s>\n", b"\n</s>\n"]
    (folder / "same.bin").write_bytes(tokenizer_bin(exported))
    special = [{"id": token, "content": pieces[token], "special": True} for token in (1, 2)]
    for vocab in ({piece: token for token, piece in enumerate(pieces)}, [[piece, 0.0] for piece in pieces]):
        (folder / "same.json").write_text(json.dumps({"added_tokens": special, "model": {"vocab": vocab}}))
        for other in (
            Llama2cTokenizer(folder / "same.bin").vocabulary,
            vocabulary_of_json((folder / "same.json").read_bytes()),
        ):
            assert other.sha256 == tokenizer.vocabulary.sha256
            assert other.size == tokenizer.vocabulary.size
            assert other.ends == (1, 2)
    exported[-1] += b"x"
    (folder / "other.bin").write_bytes(tokenizer_bin(exported))
    assert Llama2cTokenizer(folder / "other.bin").vocabulary.sha256 != tokenizer.vocabulary.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "^its tokens cannot be listed: Object missing required field `model`"),
        (
            b'{"model": {"vocab": {"a": "b"}}}',
            "^its tokens cannot be listed: Expected `int`",
        ),
        (b'{"model": {"vocab": {"a": -7}}}', "the size of a vocabulary must be an integer from 1 to 1048576"),
        (b'{"model": {"vocab": {"a": 1048576}}}', "the size of a vocabulary must be an integer from 1 to"),
        (b'{"model": {"vocab": []}}', "the size of a vocabulary must be an integer from 1 to 1048576, not 0"),
    ],
)
def test_a_tokenizer_whose_tokens_are_not_listed(content: bytes, message: str) -> None:
    with pytest.raises(aneperf.ArgumentError, match=message):
        vocabulary_of_json(content, "t.json")


def test_the_name_of_a_file_is_printable() -> None:
    assert file_name("folder/a\x1b\udcff.json") == f"a{2 * chr(0xFFFD)}.json"
    assert len(file_name("n" * 300)) == 255


def test_a_damaged_sentencepiece_model(folder: Path) -> None:
    pytest.importorskip("sentencepiece")
    piece = b"\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02"
    for content in (piece * 2, piece + b"\x0a\xff", piece + b"\x12\x7f"):
        (folder / "damaged.model").write_bytes(content)
        with pytest.raises(aneperf.ArgumentError, match=r"damaged\.model: is no tokenizer: "):
            open_tokenizer(folder / "damaged.model")


def described(model: dict[str, Any], **parts: Any) -> dict[str, Any]:
    names = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")
    return {"version": "1.0", "added_tokens": [], **dict.fromkeys(names), "model": model, **parts}


def nested(depth: int) -> dict[str, Any]:
    grow = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 65_536}
    return {"type": "Sequence", "normalizers": [grow] * depth}


WORDS = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {},
}
HOSTILE = {
    "WordLevel without its unknown token": described({**WORDS, "unk_token": "<none>"}),
    "WordPiece without its unknown token": described(
        {
            "type": "WordPiece",
            "unk_token": "<none>",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {"a": 0},
        }
    ),
    "Unigram without an unknown token": described(
        {"type": "Unigram", "unk_id": None, "vocab": [["a", -1.0]], "byte_fallback": False}
    ),
    "TemplateProcessing without its token": described(WORDS, post_processor=TEMPLATE),
    "nested Replace": described(WORDS, normalizer=nested(3)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_makes_the_library_fail_is_an_error_in_one_line(folder: Path, run: Any, name: str) -> None:
    pytest.importorskip("tokenizers")
    work = folder / name.replace(" ", "-")
    work.mkdir()
    (work / "t.json").write_text(json.dumps(HOSTILE[name]))
    (work / "text").write_text("b aaaa\n")
    for arguments in (
        ("data", str(work / "text"), "-o", str(work / "out")),
        ("generate", str(work / "none.bin"), "--prompt", "b aaaa"),
    )[: 1 if name == "nested Replace" else 2]:  # which takes seconds to fill the memory it may take
        outcome = run(*arguments, "--tokenizer", str(work / "t.json"))
        if name.startswith("Template") and arguments[0] == "data" and outcome.code == 0:
            (work / "out").unlink()  # without special tokens, it is as good as any
            continue
        assert outcome.code == 2
        assert outcome.err.startswith(f"aneperf: {work / 't.json'}: ")
        assert outcome.err.count("\n") == 1
    assert sorted(path.name for path in work.iterdir()) == ["t.json", "text"]


def test_a_vocabulary_ends_with_its_greatest_number(folder: Path) -> None:
    pytest.importorskip("tokenizers")
    path, output = folder / "sparse.json", folder / "sparse.bin"
    (folder / "text").write_text("a")
    for greatest in (70_000, 65_535):
        path.write_text(json.dumps(described({**WORDS, "vocab": {"[UNK]": 0, "a": greatest}})))
        tokenizer = open_tokenizer(path)
        assert tokenizer.vocabulary.size == greatest + 1
        write_tokens([folder / "text"], tokenizer, output, replace=True)
        tokens = load_file(output)["tokens"]
        assert tokens.tolist() == [greatest]
        assert tokens.itemsize == (2 if greatest < 65_536 else 4)


def test_what_is_no_tokenizer_is_named(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "pointer").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (folder / "gone").unlink(missing_ok=True)
    for name, message in (
        ("pipe", "is a pipe, not a tokenizer's JSON"),
        ("pointer", "is a Git LFS pointer, not a tokenizer's JSON: fetch"),
        ("gone", "cannot read: No such file"),
        (".", "is a folder, not a tokenizer's JSON"),
        ("/dev/zero", "is a device, not a tokenizer's JSON"),
    ):
        with pytest.raises(aneperf.ArgumentError, match=message):
            open_tokenizer(folder / name)


def test_a_library_that_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "without").mkdir()
    (folder / "without" / "tokenizers.py").write_text("raise ImportError(name='tokenizers')")
    monkeypatch.syspath_prepend(str(folder / "without"))
    (folder / "w.json").write_text(json.dumps(described(WORDS)))
    with pytest.raises(aneperf.ArgumentError, match=r"w.json: needs tokenizers: .*'\.\[data\]'"):
        open_tokenizer(folder / "w.json")


def test_a_library_that_does_not_end_is_not_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_library, "_LIMIT_S", 0.0)
    (folder / "w.json").write_text(json.dumps(described(WORDS)))
    with pytest.raises(aneperf.ArgumentError, match=r"w.json: is no tokenizer: no answer in 0 s"):
        open_tokenizer(folder / "w.json")


def test_a_prompt_that_is_no_text(run: Any) -> None:
    outcome = run("generate", "m.bin", "--prompt", "a\udcff", "--tokenizer", "bytes")
    assert (outcome.code, outcome.err) == (2, "aneperf: --prompt is not UTF-8 text\n")
