"""Content codings of HTTP bodies: gzip and deflate, read within a limit and written where asked."""

from __future__ import annotations

import asyncio
import contextlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from predictor.errors import BadRequestError, TooLargeError, UnsupportedEncodingError

GZIP, DEFLATE, IDENTITY = "gzip", "deflate", "identity"
ALIASES = {"x-gzip": GZIP, "": IDENTITY}  # an empty item of a list means nothing
ANSWERED_IN = (GZIP, DEFLATE)  # the first of those a client likes as much as any other

MOST_CODINGS = 3  # on top of each other: nobody needs two, and each is work
INPUT_BYTES = 256 * 1024  # fed at a time: zlib copies what it has not used yet
PIECE_BYTES = 256 * 1024  # largest piece of output
STEP_BYTES = 1024 * 1024  # of output per turn in a thread: going there and back is 0.1 ms
SMALL_INPUT_BYTES = 4096  # decompressed on the event loop, if no more comes out than:
SMALL_OUTPUT_BYTES = 16 * 1024
INLINE_ANSWER_BYTES = 64 * 1024  # compressed in half a millisecond; more in a thread
SMALLEST_BYTES = 256  # below it, a compressed answer saves less than its headers cost
QVALUE = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
LEVEL = 1  # half the size for a fifth of the time of the usual level

ZLIB_WRAPPED = zlib.MAX_WBITS
RAW_DEFLATE = -zlib.MAX_WBITS
GZIP_WRAPPED = zlib.MAX_WBITS | 16


def content_codings(value: bytes) -> tuple[str, ...]:
    """The codings in a Content-Encoding, in the order they were applied, without ``identity``.

    Raises:
        UnsupportedEncodingError: one of them is unknown, or there are too many.
    """
    names = [name.strip().lower() for name in value.decode("latin-1").split(",")]
    codings = tuple(ALIASES.get(name, name) for name in names)
    for name, coding in zip(names, codings, strict=True):
        if coding not in (GZIP, DEFLATE, IDENTITY):
            raise UnsupportedEncodingError(
                f"Content-Encoding {name} is not taken; gzip, x-gzip, deflate and identity are"
            )
    applied = tuple(coding for coding in codings if coding != IDENTITY)
    if len(applied) > MOST_CODINGS:
        raise UnsupportedEncodingError(
            f"Content-Encoding has {len(applied)} codings; at most {MOST_CODINGS} are taken"
        )
    return applied


async def decode(
    body: bytes, codings: Sequence[str], limit_bytes: int, hold: Callable[[int], None]
) -> bytes:
    """The body without its codings, worked out beside the event loop unless it is small.

    Args:
        body: as it came.
        codings: as ``content_codings`` gives them.
        limit_bytes: the most that may come out.
        hold: told how many bytes have come out so far, before more do; may refuse.

    Raises:
        TooLargeError, BadRequestError: as ``decompressed``.
    """
    if len(body) <= SMALL_INPUT_BYTES and limit_bytes > SMALL_OUTPUT_BYTES:
        with contextlib.suppress(TooLargeError):  # it is small from outside only
            return b"".join(decompressed(body, codings, SMALL_OUTPUT_BYTES))
    pieces = decompressed(body, codings, limit_bytes)
    steps: list[bytes] = []
    size = 0
    while not steps or len(steps[-1]) >= STEP_BYTES:  # between two, a client that leaves ends it
        steps.append(await asyncio.to_thread(gathered, pieces, STEP_BYTES))
        size += len(steps[-1])
        hold(size)
    return b"".join(steps)


async def encode(body: bytes, accept: bytes) -> tuple[bytes, str]:
    """``compressed``, beside the event loop unless it is small."""
    if len(body) <= INLINE_ANSWER_BYTES:
        return compressed(body, accept)
    return await asyncio.to_thread(compressed, body, accept)


def decompressed(body: bytes, codings: Iterable[str], limit_bytes: int) -> Iterator[bytes]:
    """The body without its codings, in pieces of at most ``PIECE_BYTES``, as they are asked for.

    Raises:
        TooLargeError: more than ``limit_bytes`` come out, of any of the codings: what lies between
            two of them is not kept, but it is work.
        BadRequestError: the body is corrupt, ends early or goes on after its end.
    """
    view = memoryview(body)
    pieces: Iterator[bytes | memoryview] = (
        view[start : start + INPUT_BYTES] for start in range(0, len(body), INPUT_BYTES)
    )
    for coding in reversed(tuple(codings)):
        pieces = _inflated(pieces, coding, limit_bytes)
    return (bytes(piece) for piece in pieces)


def gathered(pieces: Iterator[bytes], size_bytes: int) -> bytes:
    """The next ``size_bytes`` or a little more of ``pieces``; fewer only at their end."""
    chunks = []
    while size_bytes > 0 and (piece := next(pieces, None)) is not None:
        chunks.append(piece)
        size_bytes -= len(piece)
    return b"".join(chunks)


def compressed(body: bytes, accept: bytes) -> tuple[bytes, str]:
    """A response's body as an Accept-Encoding wants it, and the coding it is in.

    Nothing is refused: where a client allows nothing that can be had, it gets ``identity``.
    """
    if not body or (len(body) < SMALLEST_BYTES and b"=0" not in accept):
        return body, IDENTITY
    coding, must = accepted_coding(accept)
    if coding == IDENTITY or (len(body) < SMALLEST_BYTES and not must):
        return body, IDENTITY
    smaller = zlib.compress(body, LEVEL, GZIP_WRAPPED if coding == GZIP else ZLIB_WRAPPED)
    return (smaller, coding) if must or len(smaller) < len(body) else (body, IDENTITY)


def accepted_coding(accept: bytes) -> tuple[str, bool]:
    """The coding an Accept-Encoding prefers, and whether it forbids to send none (RFC 9110)."""
    weights: dict[str, float] = {}
    for item in accept.decode("latin-1").lower().split(","):
        name, _, parameter = item.partition(";")
        weights[ALIASES.get(name.strip(), name.strip())] = _weight(parameter)
    others = weights.get("*", 0.0)
    best = max(ANSWERED_IN, key=lambda coding: weights.get(coding, others))
    weight = weights.get(best, others)
    # Nobody lists identity to say that it is fine: unlisted, it is what is left.
    if weight == 0 or weight < weights.get(IDENTITY, 0.0):
        return IDENTITY, False
    return best, weights.get(IDENTITY, weights.get("*", 1.0)) == 0


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name != "q":
        return 1.0
    return float(value) if QVALUE.fullmatch(value) else 0.0  # whatever it means, it is no wish


def _inflated(
    pieces: Iterator[bytes | memoryview], coding: str, limit_bytes: int
) -> Iterator[bytes | memoryview]:
    first = next(pieces, b"")
    inflater = zlib.decompressobj(_window_bits(coding, first))
    left = limit_bytes
    piece: bytes | memoryview | None = first
    while piece is not None:
        most = min(PIECE_BYTES, left + 1)
        try:
            output = inflater.decompress(piece, most)
        except zlib.error as error:
            raise BadRequestError(f"the body is not valid {coding}: {error}") from None
        left -= len(output)
        if left < 0:
            raise TooLargeError(
                f"the body is over the limit of {limit_bytes} bytes (max_body_bytes) "
                f"once it is decompressed"
            )
        if output:
            yield output
        if inflater.eof:
            break  # what follows would be copied again with every piece of it
        piece = inflater.unconsumed_tail
        if not piece and len(output) < most:
            piece = next(pieces, None)
    if not inflater.eof:
        raise BadRequestError(f"the body ends in the middle of its {coding} data")
    if inflater.unused_data or next(pieces, None) is not None:
        raise BadRequestError(f"the body goes on after the end of its {coding} data")


def _window_bits(coding: str, start: bytes | memoryview) -> int:
    if coding == GZIP:
        return GZIP_WRAPPED
    # RFC 9110 says zlib, some clients send bare deflate. Compression method 8 in the first four
    # bits would be a stored block with its padding set, which nothing writes.
    return ZLIB_WRAPPED if start and start[0] & 0x0F == 8 else RAW_DEFLATE
