"""Which web pages may call this pod from a browser: cross-origin resource sharing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

ANY = "*"
EXPOSED = b"x-request-id, inference-header-content-length"
MAX_AGE_S = 600  # how long a browser may remember what a preflight said
HEADER_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, -]{1,1024}")  # a list of tokens, RFC 9110

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Cors:
    """The origins that are allowed; None stands for any.

    A page from elsewhere gets the plain answer without these headers: its browser then keeps the
    answer from it and says why.
    """

    origins: frozenset[bytes] | None

    @classmethod
    def parse(cls, setting: str) -> Cors | None:
        """``cors_origins``: origins separated by commas, or ``*``; None where it names none."""
        names = {name.strip().rstrip("/").lower() for name in setting.split(",")} - {""}
        if not names:
            return None
        return cls(None if ANY in names else frozenset(name.encode() for name in names))

    def headers(self, request: Mapping[bytes, bytes], methods: bytes = b"") -> Headers:
        """What an answer says to the browser.

        Args:
            request: the request's headers, names in lower case.
            methods: what the path takes, where the request was OPTIONS; may be a preflight then.
        """
        # Named origins get answers that differ, and a cache must know, whoever asks first.
        vary = () if self.origins is None else ((b"vary", b"origin"),)
        origin = request.get(b"origin")
        if origin is None or not (self.origins is None or origin in self.origins):
            return vary
        allowed = (b"access-control-allow-origin", b"*" if self.origins is None else origin)
        if not methods or b"access-control-request-method" not in request:
            return (*vary, allowed, (b"access-control-expose-headers", EXPOSED))
        preflight = (
            *vary,
            allowed,
            (b"access-control-allow-methods", methods),
            (b"access-control-max-age", b"%d" % MAX_AGE_S),
        )
        asked = request.get(b"access-control-request-headers", b"")
        if not HEADER_NAMES.fullmatch(asked):
            return preflight
        return (*preflight, (b"access-control-allow-headers", asked))
