"""The control channel: supervisor ⇄ child, short JSON messages that may carry file descriptors.

Used a few times in a process's life (start, attach, ready, stop), never per request. When the
supervisor dies the channel closes, and that is how its children know to go.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from typing import Any

MESSAGE_BYTES = 65536
MAX_FDS = 8


@dataclass(frozen=True, slots=True)
class Message:
    """One control message: its kind, its plain-data content, and descriptors that travel along."""

    kind: str
    content: dict[str, Any] = field(default_factory=dict)
    fds: tuple[int, ...] = ()


class Control:
    """One end of a control channel."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    @staticmethod
    def pair() -> tuple[Control, Control]:
        """Both ends of a new channel."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Control(left), Control(right)

    @staticmethod
    def from_fd(fd: int) -> Control:
        """The end that a parent process handed down."""
        return Control(socket.socket(fileno=fd))

    def send(self, message: Message) -> None:
        """Send one message; the descriptors stay open here, the receiver gets its own.

        Raises:
            OSError: the other end is gone.
        """
        data = json.dumps([message.kind, message.content]).encode()
        socket.send_fds(self.socket, [data], list(message.fds))

    def receive(self) -> Message | None:
        """The next message, waiting for it; None when the other end is gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, MESSAGE_BYTES, MAX_FDS)
        except ConnectionResetError:
            return None
        if not data:
            return None
        for fd in fds:
            os.set_inheritable(fd, False)
        kind, content = json.loads(data)
        return Message(kind, content, tuple(fds))

    def close(self) -> None:
        """Close this end; the other end sees it."""
        self.socket.close()
