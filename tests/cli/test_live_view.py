"""The live view of a run, and what a pipe gets instead."""

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import aneperf
from aneperf.cli.launcher import launcher_terminal, path_in
from aneperf.cli.lines import Lines
from aneperf.cli.live import LiveView, sparkline
from aneperf.cli.view import view
from aneperf.training.accounting import COMPONENTS
from aneperf.training.config import TrainingConfig
from aneperf.training.events import CheckpointSaved, Event, RunStarted, WorkerReplaced
from support.fakes import an_environment
from support.several_ranks import on_ranks, two_ranks
from support.training_runs import MODEL, RUN, SMALL


def events_of_a_run(device_name: str) -> list[Event]:
    events: list[Event] = []
    aneperf.train(MODEL, device=device_name, progress=events.append, **RUN)
    return events


def test_the_live_view(device_name: str) -> None:
    events = events_of_a_run(device_name)
    stream = io.StringIO()
    shown = LiveView(Console(file=stream, width=120, force_terminal=True, color_system=None))

    def drawn() -> str:
        console = Console(file=io.StringIO(), width=120)
        with console.capture() as capture:
            console.print(shown.render())
        return capture.get()

    assert "starting a worker" in drawn()
    pictures = []
    for event in events:
        shown.record(event)
        pictures.append(drawn())
    assert "step 0/12" in pictures[0]
    assert "unknown left" in pictures[0]
    last = pictures[-1]
    assert "step 12/12" in last
    assert re.search(r"learning rate 1.00e-02, gradient norm [\d.]+, [\d,.]+ tokens/s", last)
    assert "0:00 left" in last
    assert all(f"{name} " in last for name in (*COMPONENTS, "other"))
    assert re.search(r"loss \d\.\d{4} [▁-█]{12}  [\d.]+ ms/step", last)
    assert "compiles 42 of 100" in last
    assert "workers 1, 0 lost" in last
    shown.record(WorkerReplaced(3, "its process was killed by SIGKILL"))
    shown.record(CheckpointSaved(12, Path("x"), 1.0, 0, 1))
    assert "after one was lost: its process was killed by SIGKILL" in " ".join(drawn().split())
    assert "1 lost; checkpoint of step 12" in drawn()
    with shown:
        pass
    assert "step 12/12" in stream.getvalue()


def test_the_live_view_tells_adapters_and_where_a_run_resumed() -> None:
    config = TrainingConfig(MODEL, steps=12, lora_rank=2)
    shown = LiveView(Console(file=io.StringIO()))
    shown.record(
        RunStarted("tiny", config, an_environment(), "synthetic", 1.0, MODEL.vocab, first_step=6, loss=2.0)
    )
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as capture:
        console.print(shown.render())
    assert "step 6/12" in capture.get()
    assert "unknown left; resumed at step 6" in capture.get()
    assert "LoRA of rank 2, alpha 2, on q,k,v,o,gate,up,down: 2,048 values are trained" in capture.get()


def test_the_live_view_of_several_ranks(device_name: str) -> None:
    events = list(on_ranks(events_of_a_run(device_name)))
    for width in (80, 40):
        stream = io.StringIO()
        shown = LiveView(Console(file=stream, width=width))
        done = []
        for event in events:
            shown.record(event)
            lines = [str(line) for line in shown.render().renderables]
            done += [match[1] for line in lines if (match := re.match(r"step (\d+/\d+)", line))]
        assert list(dict.fromkeys(done)) == [f"{step}/24" for step in range(0, 26, 2)]
        assert " ".join(stream.getvalue().split()) == (
            "2 ranks on 1 host (studio), Open MPI v5.0.11 studio: 2 ranks share the CPU; the emulator has no "
            "engines"
        )
        text = "\n".join(lines)
        assert "software emulator on AMD EPYC, 2 ranks on 1 host; not a Neural Engine" in text
        assert re.search(r"[\d,.]+ tokens/s of 2 ranks\n", text)
        assert "allreduce 10.0 ms an update: 60% hidden behind steps, 4.00 ms exposed" in text
        assert re.search(r"loss \d\.\d{4} [▁-█]{24}  ", text)
        assert max(len(line) for line in lines if set(line) == {"█"}) <= min(width, 60)


def test_a_pipe_gets_the_lines_of_rank_0(device_name: str) -> None:
    stream = io.StringIO()
    shown = Lines(stream)
    for event in on_ranks(events_of_a_run(device_name), two_ranks("studio", "mini")):
        shown.record(event)
    lines = stream.getvalue().splitlines()
    assert lines[1] == "2 ranks on 2 hosts (studio, mini), Open MPI v5.0.11"
    assert "Accum 6 steps, LR=0.01" in lines
    assert [line.split()[1] for line in lines if line.startswith("step ")] == [
        str(n) for n in range(0, 24, 2)
    ]
    exchanged = "[allreduce of 2 ranks: 10.0ms, 60% hidden, exposed=4.0ms, buckets=2]"
    assert lines.count(exchanged) == 4
    update = lines[lines.index(exchanged) + 1]
    assert re.fullmatch(r"\[update 0: lr=\S+ grad_norm=\S+ tokens/s=\S+ loss=\d\.\d{4} of 6 steps\]", update)


def test_a_terminal_gets_the_live_view(
    run: Any,
    device_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name, other in (("stdout", []), ("stderr", ["-o", "-"])):
        terminal = Terminal()
        monkeypatch.setenv("TERM", "xterm")
        with monkeypatch.context() as patch:
            patch.setattr(sys, name, terminal)
            outcome = run("train", *SMALL, "--device", device_name, *other)
        assert outcome.code == 0
        assert "step 6/6" in terminal.getvalue()
        assert "aneperf train dim32" in terminal.getvalue()
        assert "step 0 " not in outcome.out + outcome.err


def test_a_pipe_gets_lines_though_errors_go_to_a_terminal(
    run: Any, device_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    outcome = run("train", *SMALL, "--device", device_name)
    assert "step 0 " in outcome.out
    assert "\x1b" not in outcome.out + outcome.err


def test_sparkline() -> None:
    assert sparkline([], 10) == ""
    assert sparkline([2.0, 2.0], 10) == "▁▁"
    assert sparkline([0.0, 1.0, float("nan")], 10) == "▁█"
    assert len(sparkline([float(n) for n in range(1000)], 40)) == 40
    assert sparkline([1.0, float("inf")], 10) == "▁▁"


def test_the_terminal_behind_a_launcher() -> None:
    """A process with a terminal as its standard output stands for the launcher, and one with a file."""
    sleeps = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 72, 0, 0))
    with subprocess.Popen(sleeps, stdin=subprocess.PIPE, stdout=theirs) as to_terminal:
        assert launcher_terminal(to_terminal.pid) == (72, 30)
    with subprocess.Popen(sleeps, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as to_file:
        assert launcher_terminal(to_file.pid) is None
    os.close(ours)
    os.close(theirs)
    assert launcher_terminal(to_terminal.pid) is None


def test_what_lsof_prints() -> None:
    assert path_in("p123\nf1\nn/dev/ttys003\n") == "/dev/ttys003"
    assert path_in("p123\nf1\nn->0x123\n") is None
    assert path_in("") is None


def test_a_rank_shows_lines_unless_its_launcher_has_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    for size, kind in (((72, 30), LiveView), ((0, 0), LiveView), (None, Lines)):
        found = None if size is None else os.terminal_size(size)
        monkeypatch.setattr("aneperf.cli.terminal.launcher_terminal", lambda found=found: found)
        shown = view(Terminal())
        assert isinstance(shown, kind)
        if isinstance(shown, LiveView) and size != (0, 0):
            assert shown._live.console.size == size
