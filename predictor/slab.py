"""Shared memory between frontends and instances, and the channel that passes slot numbers.

Every frontend owns one slab of fixed-size slots, so taking a slot needs no lock across processes:
only its owner hands slots out and takes them back. A slot's pixels stay where they were decoded
until the answer is there, so an image whose instance died can simply be sent to another one.

The memory is an anonymous file (memfd): nothing is left behind when a process is killed, and a
container's small /dev/shm does not limit it.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from predictor.machine import memory_available

ALIGNMENT = 64  # bytes, one cache line: no two regions share one


@dataclass(frozen=True, slots=True)
class SlabLayout:
    """Sizes that every process must agree on."""

    slots: int
    height: int
    width: int
    top_k: int


class Slab:
    """One frontend's slots, mapped into this process.

    Attributes:
        pixels: uint8 (slots, H, W, 3), written by the frontend's decoders.
        indices: int64 (slots, k), written by the instance.
        scores: float32 (slots, k), written by the instance.
        abandoned: uint8 (slots,), 1 once nobody waits for the answer; written by the frontend.
        started: uint8 (slots,), 1 once the image sits in a batch; written by the instance.
    """

    def __init__(self, fd: int, layout: SlabLayout) -> None:
        self.layout = layout
        self._mapping = mmap.mmap(fd, _slab_bytes(layout))
        arrays = list(_arrays(self._mapping, layout))
        self.pixels: NDArray[np.uint8] = arrays[0]
        self.indices: NDArray[np.int64] = arrays[1]
        self.scores: NDArray[np.float32] = arrays[2]
        self.abandoned: NDArray[np.uint8] = arrays[3]
        self.started: NDArray[np.uint8] = arrays[4]

    @staticmethod
    def create(layout: SlabLayout) -> int:
        """Reserve a slab's memory; returns its file descriptor.

        Raises:
            OSError: there is not enough memory (said now, rather than by a kill under load).
        """
        return reserve("millrace-slab", _slab_bytes(layout))


class Board:
    """What each frontend has to be done, by instance: int64 (rows, frontends); see ``links.Links``.

    A cell is written by its frontend alone and read by all, so that each predicts an instance's
    finish from everybody's images, not only its own.
    """

    def __init__(self, fd: int, rows: int, frontends: int) -> None:
        mapping = mmap.mmap(fd, 8 * rows * frontends)
        self.outstanding: NDArray[np.int64] = np.ndarray(
            (rows, frontends), dtype=np.int64, buffer=mapping
        )

    @staticmethod
    def create(rows: int, frontends: int) -> int:
        """Reserve a board's memory; returns its file descriptor."""
        return reserve("millrace-board", 8 * rows * frontends)


class Outcome(IntEnum):
    """What became of an image at an instance."""

    DONE = 0
    EXPIRED = 1
    ABANDONED = 2
    FAILED = 3


class Work(NamedTuple):
    """One image handed to an instance. Times are CLOCK_MONOTONIC ns, alike in all processes."""

    slot: int
    ticket: int
    level: int  # of its priority
    accepted_ns: int
    queued_ns: int
    due_ns: int
    deadline_ns: int


class Completion(NamedTuple):
    """One image handed back, and when its batch ran (CLOCK_MONOTONIC ns; 0 if it never did).

    ``size`` is how many images ran at once with it.
    """

    slot: int
    ticket: int
    outcome: Outcome
    size: int = 0
    began_ns: int = 0
    ended_ns: int = 0


WORK = struct.Struct("<IIB7xQQQQ")
COMPLETION = struct.Struct("<IIB3xIQQ")
PACKET_BYTES = 65536
PER_PACKET = PACKET_BYTES // max(WORK.size, COMPLETION.size)


class Channel:
    """One end of a frontend ⇄ instance socket pair; never blocks, never loses, never pickles.

    What the socket does not take waits in an outbox. The outbox is bounded by the slab: there are
    at most as many messages as slots.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self._outbox: list[bytes] = []

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """A connected pair of sockets that keep message boundaries."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def send_work(self, works: Iterable[Work]) -> bool:
        """Post images; True when all of it has left the outbox."""
        return self._send([WORK.pack(*work) for work in works])

    def send_completions(self, completions: Iterable[Completion]) -> bool:
        """Post answers' places; True when all of it has left the outbox."""
        return self._send([COMPLETION.pack(*completion) for completion in completions])

    def receive_work(self) -> list[Work] | None:
        """Everything in the next packet; empty when there is none; None when the peer is gone."""
        packet = self._receive()
        return None if packet is None else [*map(Work._make, WORK.iter_unpack(packet))]

    def receive_completions(self) -> list[Completion] | None:
        """Everything in the next packet; empty when there is none; None when the peer is gone."""
        packet = self._receive()
        if packet is None:
            return None
        return [
            Completion(slot, ticket, Outcome(outcome), size, began_ns, ended_ns)
            for slot, ticket, outcome, size, began_ns, ended_ns in COMPLETION.iter_unpack(packet)
        ]

    def flush(self) -> bool:
        """Send what waits in the outbox; True when it is empty."""
        while self._outbox:
            chunk = self._outbox[:PER_PACKET]
            try:
                self.socket.send(b"".join(chunk))
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                self._outbox.clear()  # the reader of this socket will find it closed
                return True
            del self._outbox[: len(chunk)]
        return True

    def close(self) -> None:
        """Close this end; the peer sees it."""
        self.socket.close()

    def _send(self, messages: list[bytes]) -> bool:
        self._outbox.extend(messages)
        return self.flush()

    def _receive(self) -> bytes | None:
        for _ in range(2):
            try:
                return self.socket.recv(PACKET_BYTES) or None
            except BlockingIOError:
                return b""
            except ConnectionResetError:
                # The peer died with something unread; what it had sent before can still be read.
                continue
        return None


def _regions(layout: SlabLayout) -> tuple[tuple[tuple[int, ...], DTypeLike], ...]:
    slots, top_k = layout.slots, layout.top_k
    return (
        ((slots, layout.height, layout.width, 3), np.uint8),
        ((slots, top_k), np.int64),
        ((slots, top_k), np.float32),
        ((slots,), np.uint8),
        ((slots,), np.uint8),
    )


def _arrays(mapping: mmap.mmap, layout: SlabLayout) -> Iterator[NDArray[Any]]:
    offset = 0
    for shape, dtype in _regions(layout):
        array: NDArray[Any] = np.ndarray(shape, dtype=dtype, buffer=mapping, offset=offset)
        offset += aligned(array.nbytes)
        yield array


def _slab_bytes(layout: SlabLayout) -> int:
    return sum(
        aligned(int(np.prod(shape)) * np.dtype(dtype).itemsize) for shape, dtype in _regions(layout)
    )


def aligned(size: int) -> int:
    """The next multiple of ``ALIGNMENT``."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def reserve(name: str, size: int, *, sealable: bool = False) -> int:
    """Anonymous shared memory of ``size`` zero bytes; returns its file descriptor.

    ``sealable`` lets it be sealed against writing later.

    Raises:
        OSError: there is not enough memory.
    """
    # Checked by hand: reserving every page now would cost memory that a quiet pod never touches,
    # and more than there is would end in a kill, not in an error.
    available = memory_available()
    if size > available:
        raise OSError(errno.ENOMEM, f"{name} needs {size} bytes of memory, {available} are free")
    fd = os.memfd_create(name, os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if sealable else 0))
    os.ftruncate(fd, size)
    return fd
