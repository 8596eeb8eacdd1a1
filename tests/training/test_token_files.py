"""Files of tokens: what they hold is checked once, and must stay."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import aneperf
from aneperf.training.data import TokenFile, open_data
from aneperf.training.events import BatchDone, Event
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


def test_the_command_says_it_in_a_line(path: Path, tmp_path: Path) -> None:
    (tmp_path / "pipe").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "is a pipe"), (".", "is a folder"), ("/dev/zero", "is a device")):
        run = subprocess.run(
            [sys.executable, "-m", "aneperf", "train", "--data", name, "--model", "stories260k"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 2
        assert f"{name}: {message}, not a file of tokens" in run.stderr
        assert len(run.stderr.splitlines()) == 1
