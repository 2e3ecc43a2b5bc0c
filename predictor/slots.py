"""The places in a frontend's slab: which are free, and whose the others are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from predictor.ticket import Ticket


class Slots:
    """Every accepted image has one, from its admission until it is answered.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count))
        self._tickets: dict[int, Ticket] = {}  # by number
        self._levels: Counter[int] = Counter()  # how many of them have each level
        self._next_number = 0

    def __len__(self) -> int:
        """How many are taken."""
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(tuple(self._tickets.values()))

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket.number in self._tickets

    @property
    def free(self) -> int:
        """How many are not taken."""
        return len(self._free)

    def at_level(self, level: int) -> int:
        """How many images of one priority level have one."""
        return self._levels[level]

    def up_to(self, level: int) -> int:
        """How many images have one that go first or are of the same level."""
        return sum(self._levels[each] for each in range(1, level + 1))

    def take(self, ticket: Ticket) -> int:
        """Give a ticket its slot and its number; returns the slot. One must be free."""
        ticket.slot = self._free.pop()
        ticket.number = self._next_number = (self._next_number + 1) & 0xFFFFFFFF
        self._tickets[ticket.number] = ticket
        self._levels[ticket.place.level] += 1
        return ticket.slot

    def give_back(self, ticket: Ticket) -> None:
        """The ticket has been answered."""
        del self._tickets[ticket.number]
        self._levels[ticket.place.level] -= 1
        self._free.append(ticket.slot)
