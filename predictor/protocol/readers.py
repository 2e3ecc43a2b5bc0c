"""Clients that take their answers slowly: which images' connections spend their time on that."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Protocol

MOST = 64  # connections in one look, so that it costs the same whatever there are; the next follow


class Reader(Protocol):
    """A connection, as its answers are concerned."""

    @property
    def answering(self) -> bool:
        """A request is under way."""

    @property
    def untaken(self) -> bool:
        """Answers lie there that its client has not taken."""


@dataclass(slots=True)
class _Seen:
    """One connection since its images were last counted."""

    images: int = 0  # answered
    under_way: int = 0  # looks at which it had a request under way or answers untaken
    untaken: int = 0  # those of them at which it had answers untaken


class Readers:
    """Looks at the connections whose images have been answered, until they are idle.

    Images are counted when they have been answered. So a client that takes nothing at all any more
    is none that the others' images wait for.
    """

    def __init__(self) -> None:
        self._seen: dict[Reader, _Seen] = {}  # whom to look at next comes first

    def __len__(self) -> int:
        """Of how many connections something is known."""
        return len(self._seen)

    def answered(self, connection: Reader, images: int) -> None:
        """A request of so many images, one at least, has been answered there."""
        self._seen.setdefault(connection, _Seen()).images += images

    def gone(self, connection: Reader) -> None:
        """That connection is closed; whatever lay there, nobody reads it any more."""
        self._seen.pop(connection, None)

    def look(self) -> tuple[int, int]:
        """Look at them; to be called a few times a second.

        Returns:
            How many connections have a request under way or answers untaken; and thousandths of the
            images answered since the last look: of each, the share of its connection's time under
            way in which there were answers untaken.
        """
        known = len(self._seen)
        looked_at = list(islice(self._seen, MOST))
        under_way = slow = 0
        for connection in looked_at:
            seen = self._seen.pop(connection)
            untaken = connection.untaken
            if not untaken and not connection.answering:
                continue
            under_way += 1
            seen.under_way += 1
            seen.untaken += untaken
            if seen.images:
                slow += 1000 * seen.images * seen.untaken // seen.under_way
                seen = _Seen()
            self._seen[connection] = seen
        return round(under_way * known / max(1, len(looked_at))), slow
