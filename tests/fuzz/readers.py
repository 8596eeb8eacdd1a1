"""Damage files at random and read them: a reader returns, or raises AneError, in seconds and little memory.

    python tests/fuzz/readers.py READER [SECONDS]
    python tests/fuzz/readers.py READER INPUT    reads a file again

Inputs that reach new lines of the package are damaged further. What breaks a reader is left in build/fuzz.
"""

import hashlib
import json
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

import aneperf
from aneperf.errors import AneError
from aneperf.kernels import TransformerConfig
from aneperf.mil import TensorType
from aneperf.runner.arrays import read_arrays
from aneperf.training.checkpoint import Checkpoints, load_model
from aneperf.training.data import TokenFile
from aneperf.training.generate import generate
from aneperf.training.hugging_face import load_hugging_face, save_hugging_face
from aneperf.training.llama2c import load_llama2c, save_llama2c
from aneperf.training.llama2c_tokenizer import Llama2cTokenizer
from aneperf.training.models import random_parameters
from aneperf.training.resume import resumed_options
from aneperf.training.token_file import Tokens, token_writer
from aneperf.training.vocabulary import Vocabulary, vocabulary_of_json

PACKAGE = str(Path(aneperf.__file__).parent)
FINDINGS = Path(__file__).resolve().parents[2] / "build" / "fuzz"
LIMIT_S = 10
LIMIT_BYTES = 4 << 30
SMALL = TransformerConfig(dim=8, hidden=8, layers=2, heads=2, kv_heads=1, head_dim=4, vocab=11, seq=4)
NUMBERS = (0, 1, 2, 3, 255, 256, 65_535, 65_536, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
WORDS = [b"%d" % n for n in (*NUMBERS, -1, 10**20, 10**400)]
WORDS += [b"null", b"1e308", b"5e-324", b"1e999", b'""', b"[]"]


def llama2c_files(folder: Path) -> list[bytes]:
    """Return models of the first format and of version 1."""
    parameters = random_parameters(SMALL)
    save_llama2c(folder / "shared.bin", SMALL, parameters)
    shared = (folder / "shared.bin").read_bytes()
    save_llama2c(folder / "m.bin", SMALL, {**parameters, "classifier": parameters["embedding"]})
    values = sum(array.size for array in parameters.values())
    header = struct.pack("<4s8iB", b"24ka", 1, 8, 8, 2, 2, 1, 11, 4, 1).ljust(256, b"\0")
    return [shared, (folder / "m.bin").read_bytes(), header + np.ones(values, "<f4").tobytes()]


def read_llama2c(path: Path) -> None:
    """Read a model, and generate from it."""
    config, parameters = load_llama2c(path)
    for _ in generate(replace(config, seq=min(config.seq, 8)), parameters, [0, 1], 2, temperature=0.5):
        pass


def tokenizer_files(folder: Path) -> list[bytes]:
    """Return vocabularies with and without tokens for bytes."""
    words = [b" ", b"a", b"b", b"ab", b"abab", b" a", b"a ", "é".encode()]
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256)), *words]
    contents = []
    for some in (pieces, words, pieces[:3] + words):
        tokens = (struct.pack("<fI", -place, len(piece)) + piece for place, piece in enumerate(some))
        contents.append(struct.pack("<I", 8) + b"".join(tokens))
    return contents


def read_tokenizer(path: Path) -> None:
    """Read a vocabulary, and encode and decode with it."""
    tokenizer = Llama2cTokenizer(path)
    tokenizer.decode(tokenizer.encode("abab a b\n é日", whole=True))


def checkpoint_files(folder: Path) -> list[bytes]:
    """Return records of checkpoints, each followed by its arrays."""
    contents = []
    for index, options in enumerate(({}, {"decay": "cosine", "clip": 1.0})):
        checkpoints = folder / f"checkpoints{index}"
        options |= {"device": "emulator", "checkpoints": checkpoints, "checkpoint_every": 0}
        aneperf.train(SMALL, steps=2, accumulation=1, **options)
        (_, last) = sorted(checkpoints.glob("step-*"))
        arrays = (last / "arrays.safetensors").read_bytes()
        contents.append((last / "checkpoint.json").read_bytes() + b"\0" + arrays)
    return contents


def read_checkpoint(path: Path) -> None:
    """Read a checkpoint whose checksums were made to agree, most of the time, and the options of its run."""
    text, _, arrays = path.read_bytes().partition(b"\0")
    if len(text) % 8:
        digest = hashlib.sha256(arrays).hexdigest().encode()
        text = re.sub(rb'("sha256": )"[0-9a-f]{64}"', rb'\1"' + digest + b'"', text)
        body, mark, _ = text.rpartition(b',\n  "checksum": "')
        if mark:
            text = body + mark + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'
    folder = path.parent / "step-00000002"
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint.json").write_bytes(text)
    (folder / "arrays.safetensors").write_bytes(arrays)
    load_model(folder)
    checkpoints = Checkpoints(folder.parent)
    checkpoints.origin(checkpoints.record())
    resumed_options(checkpoints.record(), {})


def hugging_face_files(folder: Path) -> list[bytes]:
    """Return the config.json of models, each followed by its tensors."""
    contents = []
    for config in (SMALL, replace(SMALL, qk_norm=True)):
        model = folder / "hugging_face"
        save_hugging_face(model, config, random_parameters(config))
        contents.append(
            (model / "config.json").read_bytes() + b"\0" + (model / "model.safetensors").read_bytes()
        )
        shutil.rmtree(model)
    return contents


def read_hugging_face(path: Path) -> None:
    """Read a folder."""
    config, _, tensors = path.read_bytes().partition(b"\0")
    folder = path.parent / "hugging_face"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(config)
    (folder / "model.safetensors").write_bytes(tensors)
    load_hugging_face(folder)


def token_files(folder: Path) -> list[bytes]:
    """Return files of tokens: plain ones, and with a vocabulary of 16 and of 32 bits."""
    contents = [np.arange(size, dtype="<u2").tobytes() for size in (9, 64, 300)]
    for size in (1 << 16, 1 << 17):
        tokens = {1: "<s>", 2: "</s>", size - 1: "a"}
        with token_writer(folder / "tokens", Vocabulary.of("tokenizers", "t", tokens, [1])) as add:
            add(list(range(64)))
        contents.append((folder / "tokens").read_bytes())
        (folder / "tokens").unlink()
    return contents


def read_tokens(path: Path) -> None:
    """Read tokens, and a sequence of them."""
    described = Tokens(path).vocabulary
    TokenFile(path, 1 << 16 if described is None else described.size, seq=8, seed=0).sequence(1)


def vocabulary_files(folder: Path) -> list[bytes]:
    """Return tokenizers' JSON with the vocabulary as an object and as a list."""
    added = [{"id": 3, "content": "</s>", "special": True}]
    vocabularies = ({"a": 0, "b": 1, "\u2581c": 2}, [["a", -1.5], ["b", 0], ["\u2581c", 1e3]])
    return [json.dumps({"added_tokens": added, "model": {"vocab": vocab}}).encode() for vocab in vocabularies]


def read_vocabulary(path: Path) -> None:
    """Read the vocabulary of a tokenizer's JSON, and write tokens of it."""
    vocabulary = vocabulary_of_json(path.read_bytes())
    with token_writer(path.with_name("tokens"), vocabulary) as add:
        add([vocabulary.size - 1])
    assert Tokens(path.with_name("tokens")).vocabulary == vocabulary
    path.with_name("tokens").unlink()


def array_files(folder: Path) -> list[bytes]:
    """Return archives of inputs, stored and compressed."""
    for name, save in (("stored", np.savez), ("compressed", np.savez_compressed)):
        save(folder / name, x=np.zeros((2, 8, 1, 32), np.float16), z=np.ones(3, np.float32))
    return [(folder / f"{name}.npz").read_bytes() for name in ("stored", "compressed")]


def read_inputs(path: Path) -> None:
    """Read the inputs of a program."""
    read_arrays(path, {"x": TensorType("fp16", (2, 8, 1, 32)), "z": TensorType("fp32", (3,))})


READERS: dict[str, tuple[Callable[[Path], list[bytes]], Callable[[Path], None]]] = {
    "llama2c": (llama2c_files, read_llama2c),
    "tokenizer": (tokenizer_files, read_tokenizer),
    "checkpoint": (checkpoint_files, read_checkpoint),
    "hugging_face": (hugging_face_files, read_hugging_face),
    "tokens": (token_files, read_tokens),
    "arrays": (array_files, read_inputs),
    "vocabulary": (vocabulary_files, read_vocabulary),
}


def damaged(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Return a copy with a few changes."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        place, length = chance.randrange(len(data) + 1), chance.choice((1, 2, 4, 8, 64))
        kind = chance.randrange(8)
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 2:
            place = chance.choice((place, place // 4 * 4, chance.randrange(64) // 4 * 4))
            data[place : place + 4] = struct.pack("<I", chance.choice(NUMBERS))
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = data[place : place + length]
        elif kind == 5:
            other = chance.choice(others)
            begin = chance.randrange(len(other) + 1)
            data[place : place + length] = other[begin : begin + length]
        elif kind == 6 and (found := list(re.finditer(rb"-?\d[\d.e-]*|\"[^\"]*\"|null|true", data[:4096]))):
            match = chance.choice(found)
            data[match.start() : match.end()] = chance.choice(WORDS)
        elif kind == 7:
            del data[place:]
    return bytes(data)


class Lines:
    """The lines of the package that were run so far."""

    def __init__(self) -> None:
        self._seen: set[tuple[CodeType, int]] = set()
        self.new = 0

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Trace a call, if it is one into the package."""
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        place = (frame.f_code, frame.f_lineno)
        if place not in self._seen:
            self._seen.add(place)
            self.new += 1
        return self._line


def too_slow(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"no end after {LIMIT_S} s")


def fuzz(name: str, seconds: float) -> int:
    """Damage and read files, and return the number of places where a reader broke."""
    files, read = READERS[name]
    chance, lines, broken = random.Random(time.time_ns()), Lines(), set()
    runs, end = 0, time.monotonic() + seconds
    FINDINGS.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGALRM, too_slow)
    with tempfile.TemporaryDirectory() as temporary:
        corpus = seeds = files(Path(temporary))
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
        path = Path(temporary) / "input"
        while time.monotonic() < end:
            content = damaged(chance.choice(corpus), seeds, chance) if runs >= len(seeds) else seeds[runs]
            path.write_bytes(content)
            runs, lines.new = runs + 1, 0
            signal.alarm(LIMIT_S)
            sys.settrace(lines.trace)
            try:
                read(path)
            except AneError:
                pass
            except BaseException as error:
                sys.settrace(None)
                place = traceback.extract_tb(error.__traceback__)[-1]
                if (place.filename, place.lineno) not in broken:
                    broken.add((place.filename, place.lineno))
                    finding = FINDINGS / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
                    finding.write_bytes(content)
                    print(f"{finding}:", *traceback.format_exception(error), file=sys.stderr)
                if isinstance(error, KeyboardInterrupt):
                    break
            finally:
                sys.settrace(None)
                signal.alarm(0)
            if lines.new:
                corpus = [*corpus, content]
    print(json.dumps({"reader": name, "runs": runs, "corpus": len(corpus), "broken": len(broken)}))
    return len(broken)


def main(name: str, argument: str = "60") -> int:
    """Fuzz a reader for some seconds, or let it read a file."""
    if not Path(argument).is_file():
        return min(1, fuzz(name, float(argument)))
    with tempfile.TemporaryDirectory() as folder:
        READERS[name][1](Path(shutil.copy(argument, folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
