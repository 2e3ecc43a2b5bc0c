"""What an encoded image says of itself in its first bytes: kind and size, without decoding it.

Asked before an image is accepted, so it takes microseconds, and hostile bytes cost no more.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

MOST_SEGMENTS = 64  # of a JPEG before its frame; cameras write a dozen
JPEG_START = b"\xff\xd8"
STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a length (ITU T.81, B.1.1.3)
# Frame headers: SOF0-15 but for the tables DHT (C4), JPG (C8) and DAC (CC).
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))


@dataclass(frozen=True, slots=True)
class Header:
    """Kind (jpeg, progressive, png, gif, bmp, webp), width and height in pixels."""

    kind: str
    width: int
    height: int


def describe(encoded: bytes | memoryview) -> Header | None:
    """What the first bytes say; None where they say nothing that can be understood."""
    start = bytes(encoded[:32])
    try:
        if start.startswith(JPEG_START):
            return _jpeg(encoded)
        for magic, reader in READERS:
            if start.startswith(magic):
                return reader(start)
    except (struct.error, IndexError):  # cut off
        pass
    return None


def _jpeg(encoded: bytes | memoryview) -> Header | None:
    place = 2
    for _ in range(MOST_SEGMENTS):
        while encoded[place] == 0xFF and encoded[place + 1] == 0xFF:  # fill bytes
            place += 1
            if place > len(encoded) - 2 or place > 65536:
                return None
        if encoded[place] != 0xFF:
            return None
        marker = encoded[place + 1]
        if marker in STANDALONE:
            place += 2
            continue
        (length,) = struct.unpack_from(">H", encoded, place + 2)
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", encoded, place + 5)
            return Header("progressive" if marker in PROGRESSIVE else "jpeg", width, height)
        place += 2 + length
    return None


def _png(start: bytes) -> Header:
    return Header("png", *struct.unpack_from(">II", start, 16))


def _gif(start: bytes) -> Header:
    return Header("gif", *struct.unpack_from("<HH", start, 6))


def _bmp(start: bytes) -> Header:
    (size,) = struct.unpack_from("<I", start, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", start, 18)
    return Header("bmp", abs(width), abs(height))  # a negative height: top row first


def _webp(start: bytes) -> Header | None:
    if start[8:12] != b"WEBP":
        return None
    kind = start[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", start, 26)
        return Header("webp", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", start, 21)
        return Header("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X" and len(start) >= 30:
        width, height = (int.from_bytes(start[at : at + 3], "little") + 1 for at in (24, 27))
        return Header("webp", width, height)
    return None


READERS: tuple[tuple[bytes, Callable[[bytes], Header | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"GIF8", _gif),
    (b"BM", _bmp),
    (b"RIFF", _webp),
)
