"""Pass every frame of one network device on to another, some time later: a wire with a delay.

Frames keep the kernel's header of their offloads (PACKET_VNET_HDR), so a segment of 64 KB passes as one.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import deque

_ALL = 0x0003  # ETH_P_ALL
_SOL_PACKET, _VNET_HDR, _IGNORE_OUTGOING = 263, 15, 23  # linux/if_packet.h
_RCVBUFFORCE = 33  # asm-generic/socket.h
_ROOM = 64 << 20  # bytes that wait in the kernel
_LARGEST = 1 << 17


def relay(source: str, target: str, delay_s: float) -> None:
    """Pass frames on until killed."""
    receiver, sender = _open(source), _open(target)
    receiver.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _ROOM)
    receiver.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        if select.select([receiver], [], [], left)[0]:
            waiting.append((time.monotonic() + delay_s, receiver.recv(_LARGEST)))
        while waiting and waiting[0][0] <= time.monotonic():
            sender.send(waiting.popleft()[1])


def _open(device: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    opened.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
    opened.bind((device, 0))
    return opened


if __name__ == "__main__":
    relay(sys.argv[1], sys.argv[2], float(sys.argv[3]) * 1e-3)
