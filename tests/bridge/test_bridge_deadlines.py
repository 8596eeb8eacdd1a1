"""Calls of the framework that never return, and disks without room: what is told, and what is left behind."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import aneperf
from aneperf.runner.in_child import NOT_TRIED
from support import environment
from support.bridge_programs import product
from support.parameters import thorough

pytest_plugins = ["support.standin", "support.disks"]
pytestmark = pytest.mark.usefixtures("standin")  # skips without it

CONV = """program(1.3) {
    func main<ios18>(tensor<fp16, [1, 8192, 1, 1]> x) {
        tensor<fp16, [66000, 8192, 1, 1]> w = const()[name = string("w"),
            val = tensor<fp16, [66000, 8192, 1, 1]>(
                BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))];
        tensor<fp16, [1, 66000, 1, 1]> y = conv(x = x, weight = w)[name = string("y")];
    } -> (y);
}"""
COMMAND = "import sys; sys.argv[0] = 'aneperf'; from aneperf.cli.main import main; main()"


def start(temporary: Path, hang: str, *arguments: str, timeout: int = 1) -> "subprocess.Popen[str]":
    temporary.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, "--device", "ane"],
        env=environment(
            ANE_STANDIN_HANG=hang,
            TMP=temporary,
            TEMP=temporary,
            TMPDIR=temporary,
            ANEPERF_COMPILE_TIMEOUT=timeout,
        ),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def remains(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if not path.name.startswith("GNUstepSecure")]


@pytest.mark.parametrize("hang", ["load", *thorough("compile")])
def test_the_suite_stops_when_no_compile_ends(tmp_path: Path, hang: str) -> None:
    saved = tmp_path / "r.json"
    arguments = ("suite", "--only", "compat", "--only", "counters", "-o", str(saved), "--budget", "600")
    process = start(tmp_path / "t", hang, *arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    failed, skipped = aneperf.Result.load(saved).rows
    assert (failed.key, failed.status) == ("counters/unfinished", "error")
    assert "did not end within 1 s and was killed. A small program does not compile either" in failed.reason
    assert (skipped.key, skipped.status, skipped.reason) == ("compat/unfinished", "skipped", NOT_TRIED)
    assert "sudo killall aned; sudo killall -9 ANECompilerService" in " ".join(out.split())
    assert remains(tmp_path / "t") == []


def test_an_item_whose_compile_does_not_end_is_lost_alone(tmp_path: Path) -> None:
    saved = tmp_path / "r.json"
    only = [word for name in ("abs", "relu", "sqrt") for word in ("--only", f"op/{name}")]
    process = start(tmp_path / "t", "compile:1", "compat", *only, "-o", str(saved), timeout=15)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (1, "")
    rows = aneperf.Result.load(saved).rows
    assert [row.status for row in rows] == ["ok", "error", "ok"]
    assert "A small program still compiles" in rows[1].reason
    assert remains(tmp_path / "t") == []


@pytest.mark.parametrize("verb", ["peak", *thorough("limits", "suite", "train")])
def test_an_interrupt_ends_a_call_that_never_returns(tmp_path: Path, verb: str) -> None:
    process = start(tmp_path / "t", "compile", verb, "--compile-timeout", "600")
    end = time.monotonic() + 120
    while not any((tmp_path / "t").rglob("model.mil")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("aneperf: interrupted\n")
    assert remains(tmp_path / "t") == []


def test_a_disk_without_room_is_found_before_anything_is_written(ane, standin, small_disk, monkeypatch):
    """Ask for the compile of 1.1 GB of weights, which are never read."""
    monkeypatch.setenv("TMP", str(small_disk))
    standin.reread_environment()
    header = np.zeros(128, np.uint8)
    header.view("<u4")[[0, 1, 16, 17]] = (1, 2, 0xDEADBEEF, 1)
    header.view("<u8")[[9, 10]] = (2 * 66000 * 8192, 128)
    weights = np.zeros(128 + 2 * 66000 * 8192, np.uint8)  # pages of zeros, which take no memory
    weights[:128] = header
    with pytest.raises(aneperf.CompileError) as caught:
        ane.compile(CONV, {"@model_path/weights/w.bin": weights})
    assert caught.value.kind == "DiskFailure"
    assert str(caught.value).startswith(
        f"[compile] DiskFailure: a compile of 1.1 GB of weights needs 12.2 GB of disk at {small_disk}"
    )
    assert str(caught.value).endswith(", where 0.4 MB are free: make room there")
    assert remains(small_disk) == []


def test_a_disk_that_fills_up_is_told_with_its_room(ane, standin, small_disk, monkeypatch, capfd):
    monkeypatch.setenv("TMP", str(small_disk))
    standin.reread_environment()
    with pytest.raises(aneperf.CompileError) as caught:
        product(np.ones((512, 512, 1, 1), np.float16)).compile(ane)
    assert re.match(
        r"\[compile\] DiskFailure: cannot write /.*/weights/weight\.bin \(0\.5 MB; 0\.4 MB are free there\)",
        str(caught.value),
    )
    assert str(caught.value).endswith(": make room there")
    assert "no reason" not in str(caught.value)
    assert "No space left on device" in capfd.readouterr().err  # GNUstep's complaint
    assert standin.alive() == (0, 0, 0, 0, 0)
    assert remains(small_disk) == []


def test_a_failure_of_the_framework_tells_of_a_full_disk(ane, standin, small_disk, monkeypatch, capfd):
    """Leave no room for the framework's own copy of the weights."""
    monkeypatch.setenv("TMP", str(small_disk))
    standin.reread_environment()
    with pytest.raises(aneperf.CompileError) as caught:
        product(np.ones((384, 384, 1, 1), np.float16)).compile(ane)
    assert re.search(
        rf"cannot write the model's folder; 0\.\d MB are free at {small_disk}\S*: make room there$",
        str(caught.value),
    )
    capfd.readouterr()  # GNUstep's complaint
    assert remains(small_disk) == []
