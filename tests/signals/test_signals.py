"""Signals that end a process: the first, its repetitions, a second, and those that are someone else's."""

import math
import os
import signal
import subprocess
import sys
import threading

import pytest

from aneperf.signals import STOPS, Interrupted, at_first_signal, raise_interrupted, signal_of
from support import environment


@pytest.mark.parametrize("number", STOPS)
def test_the_first_signal_is_acted_on_and_its_repetitions_are_not(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aneperf.signals.REPEAT_S", math.inf)
    before = [signal.getsignal(one) for one in STOPS]
    came: list[signal.Signals] = []
    with at_first_signal(came.append) as signals:
        assert not signals.has_come
        for _ in range(5):
            os.kill(os.getpid(), number)
        assert signals.has_come
    assert came == [number]
    assert [signal.getsignal(one) for one in STOPS] == before


def test_a_second_signal_has_its_usual_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.signals.REPEAT_S", 0.0)
    came: list[signal.Signals] = []
    with at_first_signal(came.append):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert came == [signal.SIGTERM]
    code = (
        "import os, signal, aneperf.signals as signals\nsignals.REPEAT_S = 0.0\n"
        "with signals.at_first_signal(print):\n"
        "    os.kill(os.getpid(), signal.SIGHUP); os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, env=environment())
    assert ended.returncode == -signal.SIGTERM


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_can_be_an_exception(number: signal.Signals) -> None:
    with pytest.raises(Interrupted) as raised, at_first_signal(raise_interrupted):
        os.kill(os.getpid(), number)
    assert signal_of(raised.value) == number
    assert signal_of(KeyboardInterrupt()) == signal.SIGINT


def test_an_inner_block_acts_and_the_outer_one_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.signals.REPEAT_S", math.inf)
    came: list[str] = []
    with at_first_signal(lambda number: came.append("outer")) as outer:
        with at_first_signal(lambda number: came.append("inner")):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer.has_come
        outer.ignore_more()
    assert came == ["inner"]
    assert {signal.getsignal(number) for number in STOPS} == {signal.SIG_IGN}


def test_signals_that_are_ignored_or_handled_are_left_alone() -> None:
    came: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    with at_first_signal(raise_interrupted):
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
    assert came == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_thread_changes_no_handler() -> None:
    before = [signal.getsignal(number) for number in STOPS]
    during: list[object] = []

    def work() -> None:
        with at_first_signal(raise_interrupted):
            during.extend(signal.getsignal(number) for number in STOPS)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == before
