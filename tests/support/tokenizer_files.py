"""Files of tokenizers, written byte by byte."""

import json
import struct
from collections.abc import Mapping, Sequence


def tokenizer_bin(pieces: Sequence[bytes], scores: Sequence[float] | None = None) -> bytes:
    """Return a tokenizer.bin of llama2.c."""
    scores = scores or [-float(index) for index in range(len(pieces))]
    tokens = [struct.pack("<fI", s, len(p)) + p for p, s in zip(pieces, scores, strict=True)]
    return struct.pack("<I", max(map(len, pieces))) + b"".join(tokens)


def words_json(vocab: Mapping[str, int], special: Sequence[str] = ()) -> str:
    """Return a tokenizer.json of whole words, some of them special tokens."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": vocab[name], "content": name, "special": True} | flags for name in special]
    rest = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    model = {"type": "WordLevel", "vocab": dict(vocab), "unk_token": next(iter(vocab))}
    described = {"version": "1.0", "added_tokens": added, "pre_tokenizer": {"type": "Whitespace"}}
    return json.dumps(described | rest | {"model": model})
