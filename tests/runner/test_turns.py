"""Two sides that take turns, in threads: their order, rows that one side lacks, and broken rules."""

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from aneperf.errors import ArgumentError
from aneperf.runner import turns as taken
from aneperf.runner.in_child import Outcome, run_in_child
from aneperf.runner.referee import ratios_of, referee
from aneperf.runner.turns import VARIABLE, taking_turns
from support.child_probes import take_turns

Rows = dict[str, int]  # the number of turns of each


class Sides:
    """Threads that take turns, and what they did."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.running = 0
        self.most_running = 0

    def play(self, channel: socket.socket, name: str, rows: Rows) -> None:
        mine = taken.Turns(channel)

        def run(count: int) -> NDArray[np.int64]:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            time.sleep(random.uniform(0, 0.001))
            self.order.append(name)
            self.running -= 1
            return np.full(count, 100 if name == "a" else 130)

        for key, number in rows.items():
            with mine.row(key):
                timed = mine.timed(key, run)
                for _ in range(number):
                    timed(3)
        channel.close()

    def against(self, first: Rows, second: Rows, start: int = 0) -> list[dict[str, list[float]]]:
        ends = [socket.socketpair() for _ in "ab"]
        threads = [
            threading.Thread(target=self.play, args=(end[1], name, rows))
            for end, name, rows in zip(ends, "ab", (first, second), strict=True)
        ]
        for thread in threads:
            thread.start()
        found = referee([end[0] for end in ends], str, time_limit=60.0, first=start)
        for thread in threads:
            thread.join()
        for end in ends:
            end[0].close()
        return list(found)


def test_turns_alternate_and_never_overlap() -> None:
    sides = Sides()
    found = sides.against({"k": 8, "l": 4}, {"k": 8, "l": 4})
    assert "".join(sides.order) == "abba" * 6
    assert sides.most_running == 1
    assert found == [{"k": [100] * 8, "l": [100] * 4}, {"k": [130] * 8, "l": [130] * 4}]
    assert ratios_of(found) == {"k": 1.3}  # the other row has too few


def test_the_second_side_may_begin() -> None:
    sides = Sides()
    sides.against({"k": 4}, {"k": 4}, start=1)
    assert "".join(sides.order) == "baabbaab"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"k": 6, "l": 6, "m": 6}, {"k": 6, "m": 6}),
        ({"k": 6, "m": 6}, {"k": 6, "l": 6, "m": 6}),
        ({"k": 6}, {"k": 6, "l": 6}),
        ({}, {"k": 6}),
        ({"k": 6, "l": 6}, {"l": 6, "k": 6}),
        ({"k": 2, "l": 6}, {"k": 9, "l": 6}),
    ],
)
def test_rows_and_turns_that_one_side_lacks_are_measured_alone(first: Rows, second: Rows) -> None:
    sides = Sides()
    found = sides.against(first, second)
    assert [{key: len(values) for key, values in side.items()} for side in found] == [first, second]
    assert sides.most_running == 1


@pytest.mark.parametrize(
    "said", [b"x\n", b"[]\n", b'{"turn": "k"}\n', b'{"a": "b", "c": "d"}\n', b"1" * 200_000]
)
def test_a_side_that_breaks_the_rules_is_left_out(said: bytes) -> None:
    ends = [socket.socketpair() for _ in "ab"]
    sides = Sides()
    thread = threading.Thread(target=sides.play, args=(ends[0][1], "a", {"k": 7}))

    def talk() -> None:
        with contextlib.suppress(OSError):  # the referee may have heard enough to close
            ends[1][1].sendall(said)

    talker = threading.Thread(target=talk)
    thread.start()
    talker.start()
    found = referee([end[0] for end in ends], str, time_limit=60.0)
    thread.join()
    ends[1][0].close()
    talker.join()
    ends[1][1].close()
    ends[0][0].close()
    assert found[0] == {"k": [100] * 7}
    assert ratios_of(found) == {}


def test_a_side_whose_referee_is_gone_goes_on_alone() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    sides = Sides()
    sides.play(theirs, "a", {"k": 3, "l": 2})
    assert len(sides.order) == 5


def test_the_first_turns_warm_up_and_no_ratio_rests_on_few_turns_or_a_clock_that_says_0() -> None:
    assert ratios_of([{"k": [1.0] * 6}, {"k": [50.0, 2, 2, 3, 9, 3]}]) == {"k": 3.0}
    assert ratios_of([{"k": [1.0] * 5}, {"k": [2.0] * 9}]) == {}
    assert ratios_of([{"k": [1.0] * 9}, {"k": [0.0] * 9}]) == {}


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    monkeypatch.delenv(VARIABLE, raising=False)
    yield lambda value: monkeypatch.setenv(VARIABLE, value)
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("value", ["x", "", "-1", "987654", "9" * 40])
def test_a_variable_that_names_no_socket_is_refused(value: str, variable: Callable[[str], None]) -> None:
    variable(value)
    with (
        pytest.raises(ArgumentError, match="ANEPERF_TURNS is set by aneperf ab alone: unset it"),
        taking_turns(),
    ):
        pass


def test_a_process_takes_the_turns_of_its_socket(variable: Callable[[str], None]) -> None:
    ours, theirs = socket.socketpair()
    variable(str(theirs.detach()))
    with taking_turns():
        assert taken.turns() is not None
        assert VARIABLE not in os.environ
    assert taken.turns() is None
    assert ours.recv(1) == b""  # closed
    ours.close()
    with taking_turns():
        assert taken.turns() is None


def test_a_child_makes_its_calls_in_the_turns_of_its_parent() -> None:
    ends = [socket.socketpair() for _ in "ab"]
    ends[1][1].close()
    outcomes: list[Outcome] = []

    def measure() -> None:
        with taking_turns(ends[0][1].detach()):
            outcomes.append(run_in_child(take_turns, "emulator", time_limit=600.0, key="k", number=7))

    thread = threading.Thread(target=measure)
    thread.start()
    found = referee([end[0] for end in ends], str, time_limit=600.0)
    thread.join()
    for end in ends:
        end[0].close()
    assert [outcome.failure for outcome in outcomes] == [None]
    assert found == [{"k": [100] * 7}, {}]
