"""The listening sockets of a pod: bound once by the supervisor, closed without losing anyone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from predictor.errors import StartupError

BACKLOG = 2048  # connections the kernel holds while frontends are busy
SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>; not in the socket module

# A classic BPF program over the TCP header (RFC 9293 §3.1: flags are byte 13, SYN is bit 0x02).
DROP_SYN = (
    (0x30, 0, 0, 13),  # load byte 13
    (0x45, 0, 1, 0x02),  # SYN set? go on : skip one
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep
)


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket bound to ``host:port``.

    Raises:
        StartupError: the address cannot be had; says why.
    """
    return _bound(host, port, socket.SO_REUSEADDR)


def bind_shared(host: str, port: int) -> socket.socket:
    """The same, for a port on which this pod's other processes listen as well.

    The kernel would let another pod of this user join them; so it is tried without sharing first.

    Raises:
        StartupError: the address cannot be had; says why.
    """
    with bind(host, port) as alone:
        port = alone.getsockname()[1]
    return _bound(host, port, socket.SO_REUSEPORT)


def _bound(host: str, port: int, option: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartupError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def listeners(port: int) -> Iterator[socket.socket]:
    """The sockets by which this process listens on ``port``, as copies that are to be closed.

    For those of a library that does not hand its sockets out.
    """
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            copy = os.dup(int(entry.name))
        except OSError:  # it was the listing's own
            continue
        try:
            found = socket.socket(fileno=copy)
        except OSError:  # no socket
            os.close(copy)
            continue
        if (
            found.family in (socket.AF_INET, socket.AF_INET6)
            and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            and found.getsockname()[1] == port
        ):
            yield found
        else:
            found.close()


def ignore_new_connections(listener: socket.socket) -> None:
    """Take no new connection, while those that are being made or wait to be accepted go through.

    Closing a listener resets every connection that the kernel has made and nobody has accepted
    yet, requests and all. So first the socket drops SYNs; what is in its queue is accepted and
    answered; then it can be closed. A client whose SYN was dropped tries again and is refused.
    Where the kernel has no socket filters the listener just stays as it is.
    """
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in DROP_SYN)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(DROP_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)
