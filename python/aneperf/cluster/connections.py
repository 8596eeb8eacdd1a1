"""TCP connections between every two ranks, and the messages on them, a line of JSON each."""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import secrets
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

import msgspec

from .communicator import CommunicationError

Exchange = Callable[[bytes], list[bytes]]

_CONNECT_S = 60.0  # for all connections, from the slowest rank's start on
_TRY_S = 3.0  # for one address
_LONGEST = 1 << 16  # bytes of a message
_LOOPBACK = "127.0.0.1"
# The ioctl that gives an interface's IPv4 address: sys/sockio.h on macOS, linux/sockios.h.
_SIOCGIFADDR = 0xC0206921 if sys.platform == "darwin" else 0x8915


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """A sign of life."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """A signal ends the run."""

    number: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The rank cannot continue, and has told the user why."""

    message: str


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """Another rank is dead or hangs, as this one sees it."""

    rank: int
    reason: str


class Goodbye(msgspec.Struct, frozen=True, tag="goodbye"):
    """The rank ends, as all do, or for a reason of its own."""

    reason: str = "left before the others"


Message = Beat | Stop | Failed | Lost | Goodbye


class Card(msgspec.Struct, frozen=True):
    """Where a rank listens, for the others."""

    host: str
    addresses: list[str]
    port: int
    secret: str  # that of rank 0 keeps out whoever else finds the port


class Connection:
    """A connection to another rank."""

    def __init__(self, rank: int, host: str, connected: socket.socket) -> None:
        self.rank, self.host, self.socket = rank, host, connected
        self._decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
        self._rest = b""
        self._heard = time.monotonic()
        connected.setblocking(False)

    @property
    def silent_s(self) -> float:
        """Return the seconds since something arrived."""
        return time.monotonic() - self._heard

    @silent_s.setter
    def silent_s(self, seconds: float) -> None:
        self._heard = time.monotonic() - seconds

    def send(self, message: Message) -> None:
        """Send a message if the other side takes any; one that does not is heard of otherwise."""
        with contextlib.suppress(OSError):
            self.socket.send(msgspec.json.encode(message) + b"\n")

    def receive(self) -> Iterator[Message]:
        """Yield the messages that have arrived. Raises EOFError, OSError, MsgspecError and ValueError."""
        try:
            received = self.socket.recv(_LONGEST)
        except BlockingIOError:
            return
        if not received:
            raise EOFError
        self._heard = time.monotonic()
        *lines, self._rest = (self._rest + received).split(b"\n")
        if len(self._rest) > _LONGEST:
            raise ValueError(f"it is longer than {_LONGEST} bytes")
        for line in lines:
            yield self._decoder.decode(line)

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


def connect(rank: int, exchange: Exchange) -> list[Connection]:
    """Connect with every other rank: a rank calls those below it.

    Raises CommunicationError for one out of reach.
    """
    host = socket.gethostname()
    with socket.create_server(("", 0), backlog=128) as server:
        own = Card(host, _addresses(), server.getsockname()[1], secrets.token_hex(16))
        cards = [msgspec.json.decode(card, type=Card) for card in exchange(msgspec.json.encode(own))]
        secret, deadline = bytes.fromhex(cards[0].secret), time.monotonic() + _CONNECT_S
        found: dict[int, Connection] = {}
        try:
            for other in range(rank):
                found[other] = Connection(other, cards[other].host, _call(cards[other], rank, other, secret))
            while len(found) < len(cards) - 1:
                if (caller := _answer(server, rank, secret, deadline)) is None:
                    missing = min(set(range(len(cards))) - {rank, *found})
                    raise CommunicationError(_out_of_reach(missing, cards[missing].host, rank, own))
                other, connected = caller
                if not rank < other < len(cards) or other in found:
                    connected.close()
                    continue
                found[other] = Connection(other, cards[other].host, connected)
        except BaseException:
            for connection in found.values():
                connection.close()
            raise
    return list(found.values())


def _call(card: Card, rank: int, other: int, secret: bytes) -> socket.socket:
    """Connect to another rank by the first of its addresses where that rank answers."""
    deadline = time.monotonic() + _CONNECT_S
    while time.monotonic() < deadline:
        for address in card.addresses:
            with contextlib.suppress(OSError):
                connected = socket.create_connection((address, card.port), timeout=_TRY_S)
                try:
                    connected.settimeout(_CONNECT_S)  # it may wait for other ranks first
                    connected.sendall(struct.pack("!I", rank) + _proof(secret, rank, other))
                    if hmac.compare_digest(_read(connected, 32), _proof(secret, other, rank)):
                        return connected
                except BaseException:
                    connected.close()
                    raise
                connected.close()
        time.sleep(0.1)
    raise CommunicationError(_out_of_reach(rank, socket.gethostname(), other, card))


def _answer(
    server: socket.socket, rank: int, secret: bytes, deadline: float
) -> tuple[int, socket.socket] | None:
    """Return the next rank that calls, and the connection; None after the deadline."""
    while (left := deadline - time.monotonic()) > 0:
        server.settimeout(left)
        try:
            connected, _ = server.accept()
        except OSError:
            continue
        try:
            connected.settimeout(_TRY_S)
            (other,) = struct.unpack("!I", _read(connected, 4))
            if hmac.compare_digest(_read(connected, 32), _proof(secret, other, rank)):
                connected.sendall(_proof(secret, rank, other))
                return other, connected
        except OSError:
            pass  # someone else's call
        connected.close()
    return None


def _proof(secret: bytes, caller: int, called: int) -> bytes:
    """Show that one knows the secret, which the other side cannot send back as its own proof."""
    return hmac.digest(secret, struct.pack("!II", caller, called), "sha256")


def _read(connected: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        if not (part := connected.recv(size - len(content))):
            raise ConnectionResetError
        content += part
    return content


def _addresses() -> list[str]:
    """List this host's IPv4 addresses, the loopback's last."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # without an address
                answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("40s", name.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    return [address for address in found if address != _LOOPBACK] + [_LOOPBACK]


def _out_of_reach(caller: int, host: str, called: int, card: Card) -> str:
    places = ", ".join(f"{address}:{card.port}" for address in card.addresses if address != _LOOPBACK)
    return (
        f"rank {caller} on {host} does not reach rank {called} on {card.host} at {places or _LOOPBACK}: "
        "ranks watch each other over TCP; let their firewalls pass it"
    )
