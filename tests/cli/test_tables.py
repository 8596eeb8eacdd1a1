"""How the command draws tables: in pipes, in terminals, and where the locale takes ASCII only."""

import functools
from pathlib import Path
from typing import Any

import pytest

import aneperf
from aneperf.cli import measuring
from aneperf.cli.terminal import Terminal, write_table
from aneperf.probes import peak
from aneperf.report.table import Table
from aneperf.runner.rounds import Repeat
from support.command import assert_refused
from support.fakes import FakeDevice, FakeStack, in_this_process
from support.terminals import AsTerminal


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """Offer a device on which each call takes longer than the one before."""
    device = FakeDevice()
    in_this_process(monkeypatch)
    device.call_ns = lambda call: 1_000_000 + 1000 * call
    monkeypatch.setattr("aneperf.device.open", lambda *args, **kwargs: device)
    monkeypatch.setattr(peak, "PUBLISHED", [FakeStack(channels=4, depth=1, width=4)])
    monkeypatch.setattr(peak, "peak", functools.partial(peak.peak, clock=device.clock))
    monkeypatch.setattr("aneperf.measure.watch.is_preempted", lambda seen: False)  # as this machine may be
    return device


def row_of(out: str) -> str:
    return next(line for line in out.splitlines() if line.startswith("1x conv 4ch sp4 "))


def test_the_table_marks_what_changes_a_decision_and_verbose_shows_all(device: FakeDevice, run: Any) -> None:
    out = run("peak", "--budget", "1").out
    assert row_of(out).endswith(" drift")
    assert "Calls" not in out
    verbose = run("peak", "--budget", "1", "-v").out
    assert "Calls" in verbose
    assert ", " in row_of(verbose)


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.UTF-8"])
def test_a_plain_locale_gets_ascii(
    device: FakeDevice, run: Any, monkeypatch: pytest.MonkeyPatch, locale: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    out = run("peak").out
    assert out.isascii() == (locale != "en_US.UTF-8")
    assert ("+/-" in out) == out.isascii()


def test_a_terminal_gets_its_width_and_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = AsTerminal()
    table = Table(("title",), ("Name", ""), ("left", "left"), (("first", "some words to fold"),), best=0)
    write_table(table, stream)
    text = stream.getvalue()
    assert "\x1b[1mtitle" in text
    assert "\x1b[1;32mfirst some words to" in text
    assert "\x1b[1;32m      fold" in text


def test_a_terminal_gets_ascii_bars_where_the_locale_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    for locale, encoding, text in (("C", "ascii", "+/- 8"), ("C.UTF-8", "utf-8", "± █")):
        monkeypatch.setenv("LC_ALL", locale)
        stream = AsTerminal()
        terminal = Terminal(stream)
        terminal.write("± █")
        assert (terminal.encoding, stream.getvalue()) == (encoding, text)


@pytest.mark.parametrize(
    ("suffix", "begin"),
    [
        ("", "{\n"),
        (".csv", "probe,key,config,"),
        (".md", "**aneperf peak**\n"),
        (".html", "<!doctype html>\n"),
    ],
)
def test_a_dash_with_a_suffix_prints_that_form(
    device: FakeDevice, run: Any, tmp_path: Path, suffix: str, begin: str
) -> None:
    printed = run("peak", "-o", f"-{suffix}")
    assert printed.out.startswith(begin)
    assert "TFLOPS" in printed.err
    saved = tmp_path / f"r{suffix}"
    outcome = run("peak", "-o", str(saved))
    assert saved.read_text().startswith(begin)
    assert "TFLOPS" in outcome.out


def test_other_verbs_have_the_same_forms(device: FakeDevice, run: Any, tmp_path: Path) -> None:
    assert run("info", "-o", "-.csv").out.splitlines()[:2] == ["fact,value", f"aneperf,{aneperf.__version__}"]
    path = str(tmp_path / "r.json")
    run("peak", "-o", path)
    assert run("compare", path, path, "-o", "-.csv").out.startswith("key,")
    assert run("compare", path, path, "-o", "-.md").out.startswith("**aneperf compare: peak")


def test_a_form_that_cannot_be_written_is_found_before_measuring(
    device: FakeDevice, run: Any, tmp_path: Path
) -> None:
    (tmp_path / "notes.md").write_text("my own notes, which are long enough to be recognized as a text\n" * 2)
    outcome = run("peak", "-o", str(tmp_path / "notes.md"))
    assert_refused(outcome, "notes.md: is there and is text, not a Markdown page of aneperf")
    assert device.programs == []


def test_a_budget_that_is_too_small_is_told_before_the_first_row(
    device: FakeDevice, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Repeat, "forecast", lambda *arguments: "5 processes a row need about 90 s")
    said: list[tuple[str, int]] = []
    monkeypatch.setattr(measuring, "say", lambda text: said.append((text, len(device.programs))))
    run("peak")
    assert said == [("5 processes a row need about 90 s", 0)]
