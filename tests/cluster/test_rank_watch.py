"""The watch of ranks over each other, in threads of one process."""

import contextlib
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import pytest

from aneperf.cluster import connections
from aneperf.cluster import watch as watch_module
from aneperf.cluster.communicator import CommunicationError
from aneperf.cluster.connections import Beat, Card, Lost
from aneperf.cluster.watch import RankError, Watch, watched
from support.ranks import run_ranks

_SECONDS = 60.0  # deadline of what must come


class Table:
    """Lets `size` threads exchange their cards."""

    def __init__(self, size: int) -> None:
        self.cards: list[bytes] = [b""] * size
        self._meet = threading.Barrier(size)

    def exchange(self, rank: int, change: Callable[[bytes], bytes] = bytes) -> Callable[[bytes], list[bytes]]:
        def exchange(card: bytes) -> list[bytes]:
            self.cards[rank] = change(card)
            self._meet.wait(_SECONDS)
            return self.cards

        return exchange


@contextmanager
def watches(size: int, **options: Any) -> Iterator[list[Watch]]:
    table = Table(size)
    with ThreadPoolExecutor(size) as pool, ExitStack() as stack:
        made = list(pool.map(lambda rank: Watch(rank, table.exchange(rank), **options), range(size)))
        for watch in made:
            stack.callback(watch.close)
        yield made


def reason(watch: Watch, ended: threading.Event) -> tuple[str, bool]:
    assert ended.wait(_SECONDS)
    with pytest.raises(RankError) as error:
        watch.check()
    return str(error.value), error.value.is_mine


def endings(made: list[Watch]) -> list[threading.Event]:
    events = [threading.Event() for _ in made]
    for watch, event in zip(made, events, strict=True):
        watch.on_end = event.set
    return events


def break_off(watch: Watch) -> None:
    """Close the connections without a goodbye, as a kernel does when a process dies."""
    peers = list(watch._peers.values())
    for peer in peers:
        peer.send = lambda message: None  # type: ignore[method-assign]
    for peer in peers:
        with contextlib.suppress(OSError):  # closed by then
            peer.socket.shutdown(socket.SHUT_RDWR)


def test_a_rank_that_dies_ends_the_run_on_all_and_the_lowest_tells() -> None:
    with watches(3) as made:
        ended, host = endings(made), socket.gethostname()
        break_off(made[1])
        assert reason(made[0], ended[0]) == (f"rank 1 on {host}: its process ended", True)
        assert reason(made[2], ended[2]) == (f"rank 1 on {host}: its process ended", False)


def test_the_next_rank_tells_of_rank_0() -> None:
    with watches(3) as made:
        ended = endings(made)
        break_off(made[0])
        assert reason(made[1], ended[1])[1]
        assert not reason(made[2], ended[2])[1]
        made[1].wait_for_lower(_SECONDS)
        assert made[1].is_lowest


def test_a_rank_that_is_silent_is_lost() -> None:
    table = Table(2)
    with ThreadPoolExecutor(2) as pool, ExitStack() as stack:
        silent = pool.submit(connections.connect, 1, table.exchange(1))  # and sends nothing
        watch = pool.submit(Watch, 0, table.exchange(0), 0.5).result(_SECONDS)
        stack.callback(watch.close)
        ended = endings([watch])
        told, mine = reason(watch, ended[0])
        assert told.endswith(": gave no sign of life for 0.5 s")
        assert mine
        for connection in silent.result(_SECONDS):
            connection.close()


def test_a_watch_that_was_stopped_gives_the_others_their_time() -> None:
    with watches(2, silence_s=1000.0) as made:
        peer = made[0]._peers[1]
        made[0].close()
        made[0]._thread.join(_SECONDS)  # it judges, too
        peer.silent_s = 2000.0
        made[0]._judge(600.0)
        assert peer.silent_s < 1000.0
        assert not made[0].has_lost


def test_a_rank_that_leaves_is_not_lost() -> None:
    with watches(2) as made:
        made[1].close()
        made[0].wait_for_lower(_SECONDS)
        made[0]._thread.join(0.2)
        made[0].check()


def test_a_signal_and_a_failure_reach_the_others() -> None:
    with watches(2) as made:
        ended, stopped, numbers = endings(made), threading.Event(), list[int]()

        def stop(number: signal.Signals) -> None:
            numbers.append(number)
            stopped.set()

        made[0].on_stop = stop
        made[1].tell_stop(signal.SIGTERM)
        assert stopped.wait(_SECONDS)
        assert numbers == [signal.SIGTERM]
        made[0].check()
        made[1].tell_failed("the disk\nis full")
        assert reason(made[0], ended[0]) == (f"rank 1 on {socket.gethostname()}: the disk is full", True)
        made[1].check()


def test_a_rank_hears_that_others_hold_it_for_lost() -> None:
    with watches(2) as made:
        ended = endings(made)
        made[0]._put(Lost(1, "gave no sign of life for 30 s"))
        told, _ = reason(made[1], ended[1])
        assert told.endswith("holds rank 1 for lost: it gave no sign of life for 30 s")


@pytest.mark.parametrize("sent", [b"{}\n", b"\xff\n", b'{"type":"stop","number":9999}\n', b"x" * 70000])
def test_a_message_that_cannot_be_read_is_a_loss(sent: bytes) -> None:
    with watches(2) as made:
        ended = endings(made)
        made[1]._peers[0].socket.setblocking(True)
        with contextlib.suppress(OSError):  # the other side may have read enough to close
            made[1]._peers[0].socket.sendall(sent)
        assert "cannot be read" in reason(made[0], ended[0])[0]


def test_a_stranger_on_the_port_is_turned_away() -> None:
    def intrude(card: bytes) -> bytes:
        port = msgspec.json.decode(card, type=Card).port
        for content in (b"", struct.pack("!I", 1) + bytes(32), b"GET / HTTP/1.0\r\n\r\n" + bytes(40)):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(content)
        return card

    table = Table(2)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(Watch, 0, table.exchange(0, intrude))
        made = [first.result(_SECONDS) for first in (first, pool.submit(Watch, 1, table.exchange(1)))]
    for watch in made:
        watch.check()
        watch.close()


def test_ranks_out_of_reach_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(card: bytes) -> bytes:
        told = msgspec.json.decode(card, type=Card)
        return msgspec.json.encode(msgspec.structs.replace(told, addresses=["127.0.0.1"], port=9))

    monkeypatch.setattr(connections, "_CONNECT_S", 0.3)
    table = Table(2)
    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(Watch, rank, table.exchange(rank, elsewhere)) for rank in (0, 1)]
        for rank, each in enumerate(made):
            with pytest.raises(CommunicationError, match=r"rank 1 on .* does not reach rank 0 on .* TCP"):
                each.result(_SECONDS)
            assert rank in (0, 1)


def test_the_ranks_of_a_block_hear_why_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "_ALIKE_S", 0.1)
    monkeypatch.setattr(watch_module, "_LOWER_S", 0.1)

    def act(communicator: Any) -> str:
        try:
            with watched(communicator) as watch:
                assert watch is not None
                if communicator.rank == 0:
                    raise ValueError("no room")
                while True:
                    communicator.gather(b"")
        except (ValueError, RankError) as error:
            if communicator.rank == 1:
                watch.close()  # as the end of the process does
            return str(error)

    told = run_ranks(2, act)
    assert told == ["no room", f"rank 0 on {socket.gethostname()}: no room"]


def test_a_rank_that_has_left_is_named_with_its_reason_at_once() -> None:
    with watches(2) as made:
        made[1].close(ValueError("no room"))
        with pytest.raises(RankError, match=r"rank 1 on .*: no room"):
            made[0].check(left=True)


def test_ranks_that_end_alike_may_begin_again() -> None:
    def act(communicator: Any) -> int:
        for _ in range(2):
            with contextlib.suppress(ValueError), watched(communicator):
                communicator.gather(b"")
                raise ValueError("the same on all")
        return len(communicator.gather(b""))

    assert run_ranks(2, act) == [2, 2]


def test_a_beat_is_small() -> None:
    assert len(msgspec.json.encode(Beat())) < 32
