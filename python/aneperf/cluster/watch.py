"""The watch of each rank over the others, which tells within SILENCE_S that one is dead or hangs.

It is TCP between every two ranks, apart from MPI. The kernel closes the connection of a process that dies. A
process that is stopped, a host that is off and a broken network are silent. MPI tells neither: a collective
operation on a dead rank waits without an end. Messages here also arrive while one is pending, and need no
MPI_THREAD_MULTIPLE.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import msgspec

from ..files import one_line
from .communicator import CommunicationError, Communicator
from .connections import Beat, Connection, Exchange, Failed, Goodbye, Lost, Message, Stop, connect

SILENCE_S = 30.0  # of a rank that hangs
_LEAVE_S = 2.0  # to send what is left
_ALIKE_S = 10.0  # for this rank to leave for the same reason as the others
_LOWER_S = 600.0  # for ranks that save


class RankError(CommunicationError):
    """The run ends since another rank is lost, or has failed.

    One rank tells the user: that for which `is_mine` is true.
    """

    is_mine = False
    is_told = False  # to the user, by an event of the run


class Watch:
    """Watches the other ranks in a thread.

    `exchange` gives each rank the bytes of every rank, by rank. In the thread, `on_end` is called once, when
    a rank is lost or has failed, and `on_stop` with a signal that another rank got. Raises CommunicationError
    where the ranks cannot reach each other.
    """

    def __init__(
        self,
        rank: int,
        exchange: Exchange,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.rank = rank
        self.on_end: Callable[[], object] = lambda: None
        self.on_stop: Callable[[signal.Signals], object] = lambda number: None
        self._end: str | None = None  # what ends the run
        self._is_mine = False  # to tell why the run ends: of the lowest rank that is there at that moment
        self._left: tuple[Connection, str, float] | None = None  # the first rank that has, why and when
        self._silence_s, self._beat_s = silence_s, silence_s / 15
        self._peers = {peer.rank: peer for peer in connect(rank, exchange)}
        self._present = {rank, *self._peers}
        self._outgoing: queue.SimpleQueue[Message] = queue.SimpleQueue()  # a signal handler may put
        self._changed = threading.Condition()
        self._awake, self._wake = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for peer in self._peers.values():
            self._selector.register(peer.socket, selectors.EVENT_READ, peer)
        self._selector.register(self._awake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    @property
    def is_lowest(self) -> bool:
        """Tell whether this rank is the lowest that is not lost."""
        return self.rank == min(self._present)

    @property
    def has_lost(self) -> bool:
        """Tell whether another rank is lost or has failed."""
        return self._end is not None

    def check(self, left: bool = False) -> None:
        """Raise RankError if another rank is lost or has failed; all that waits for ranks calls this.

        If a rank is known to have `left` before the others, raise with its reason as soon as that is here.
        """
        if left:
            with self._changed:
                self._changed.wait_for(lambda: self._left is not None, _LEAVE_S)
        if self._left is not None and (left or time.monotonic() - self._left[2] >= _ALIKE_S):
            self._end_by(*self._left[:2], failed=True)
        if self._end is not None:
            error = RankError(self._end)
            error.is_mine = self._is_mine
            raise error

    def tell_stop(self, number: signal.Signals) -> None:
        """Tell the other ranks that a signal ends the run. A signal handler may call this."""
        self._put(Stop(number))

    def tell_failed(self, message: str) -> None:
        """Tell the other ranks that this one has failed."""
        self._put(Failed(message))

    def wait_for_lower(self, timeout_s: float) -> None:
        """Wait until the ranks below this one have left or are lost."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_lowest, timeout_s)

    def close(self, error: BaseException | None = None) -> None:
        """Say goodbye to the other ranks, which have the same error, or are to end too if they wait."""
        self._put(Goodbye() if error is None else Goodbye(one_line(error) or type(error).__name__))
        self._thread.join(_LEAVE_S)

    def _put(self, message: Message) -> None:
        self._outgoing.put(message)
        with contextlib.suppress(OSError):  # closed
            self._wake.send(b"\0")

    def _run(self) -> None:
        next_beat, leaving = 0.0, False
        while not leaving:
            if (now := time.monotonic()) >= next_beat:
                self._send(Beat())
                next_beat = now + self._beat_s
            for key, _ in self._selector.select(max(0.0, next_beat - now)):
                if isinstance(key.data, Connection):
                    if key.data.rank in self._peers:  # else another one told meanwhile that it is lost
                        self._hear(key.data)
                    continue
                self._awake.recv(1 << 10)
                while not self._outgoing.empty():
                    message = self._outgoing.get()
                    self._send(message)
                    leaving |= isinstance(message, Goodbye)
            self._judge(time.monotonic() - now)
        for peer in self._peers.values():
            peer.close()
        self._awake.close()
        self._wake.close()

    def _judge(self, waited_s: float) -> None:
        """Lose the ranks that are silent, after a wait for what arrives.

        After a wait that was far too long, this process was stopped, and the others may have been, too.
        """
        if waited_s >= self._silence_s / 2:
            for peer in self._peers.values():
                peer.silent_s = 0.0
        for peer in [peer for peer in self._peers.values() if peer.silent_s >= self._silence_s]:
            self._lose(peer, f"gave no sign of life for {self._silence_s:g} s")

    def _send(self, message: Message) -> None:
        for peer in self._peers.values():
            peer.send(message)

    def _hear(self, peer: Connection) -> None:
        try:
            for message in peer.receive():
                if isinstance(message, Goodbye):
                    self._left = self._left or (peer, message.reason, time.monotonic())
                    self._leave(peer)
                    return
                if isinstance(message, Failed):
                    self._end_by(peer, message.message, failed=True)
                elif isinstance(message, Stop):
                    self.on_stop(signal.Signals(message.number))
                elif isinstance(message, Lost):
                    self._hear_of_lost(peer, message)
        except (EOFError, ConnectionResetError):
            self._lose(peer, "its process ended")
        except OSError as error:
            self._lose(peer, f"its connection broke: {error.strerror}")
        except (msgspec.MsgspecError, ValueError) as error:
            self._lose(peer, f"its message cannot be read: {one_line(error)}")

    def _hear_of_lost(self, peer: Connection, lost: Lost) -> None:
        """End the run with the others, who may see what this rank does not: parts of a network break."""
        if (other := self._peers.get(lost.rank)) is not None:
            self._leave(other)
            self._end_by(other, lost.reason)
        elif lost.rank == self.rank:
            self._end_by(peer, f"holds rank {self.rank} for lost: it {lost.reason}")

    def _lose(self, peer: Connection, reason: str) -> None:
        self._send(Lost(peer.rank, reason))
        self._leave(peer)
        self._end_by(peer, reason)

    def _leave(self, peer: Connection) -> None:
        self._selector.unregister(peer.socket)
        peer.close()
        del self._peers[peer.rank]
        with self._changed:
            self._present.discard(peer.rank)
            self._changed.notify_all()

    def _end_by(self, peer: Connection, reason: str, failed: bool = False) -> None:
        if self._end is None:
            is_told = failed and peer.rank == 0  # by rank 0, which has failed itself
            self._is_mine = self.is_lowest and not is_told
            self._end = one_line(f"rank {peer.rank} on {peer.host}: {reason}")
            self.on_end()


@contextlib.contextmanager
def watched(communicator: Communicator) -> Iterator[Watch | None]:
    """Watch the other ranks, if there are any, as long as the block lasts.

    If the block raises, the other ranks are told why this one ends. Where ranks are lost, it waits for those
    below it to end, and counts as there as long as its process: a launcher kills all when one has ended with
    an error.
    """
    if communicator.size == 1:
        yield None
        return
    watch = Watch(communicator.rank, communicator.gather)
    communicator.watch(watch.check)
    atexit.register(watch.close)
    try:
        yield watch
    except CommunicationError as error:
        if not isinstance(error, RankError):
            watch.tell_failed(one_line(error))
        watch.wait_for_lower(_LOWER_S)
        raise
    except BaseException as error:
        _end(communicator, watch, error)
        raise
    _end(communicator, watch, None)


def _end(communicator: Communicator, watch: Watch, error: BaseException | None) -> None:
    communicator.watch(None)
    atexit.unregister(watch.close)
    watch.close(error)
