"""The instances attached to one frontend: what is outstanding there, and which takes an image."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from predictor.admission import CostScale, EarliestFinish
from predictor.slab import Channel, Work
from predictor.ticket import Ticket
from predictor.types import BatchCost


@dataclass(slots=True, eq=False)
class Link:
    """One attached instance.

    Attributes:
        instance: its number.
        cost: what its batches cost when it was warmed up.
        scale: how much more they cost while it serves.
        stalled: it gives no signs of life; nothing is sent there if there is another one.
        tickets: what this frontend has outstanding there.
        unsent: what goes out at the end of this turn of the event loop.
    """

    instance: int
    channel: Channel
    cost: BatchCost
    scale: CostScale = field(default_factory=CostScale)
    stalled: bool = False
    tickets: dict[int, Ticket] = field(default_factory=dict)
    unsent: list[Work] = field(default_factory=list)


class Links:
    """All attached instances of one version.

    Args:
        board: int64 (rows, frontends), shared: a row per instance, by its number, and a last one
            for images that are not handed over yet; this frontend writes column ``frontend``.
        frontend: this frontend's number.
    """

    def __init__(self, board: NDArray[np.int64], frontend: int) -> None:
        self._board = board
        self._frontend = frontend
        self._loop = asyncio.get_running_loop()
        self._links: dict[int, Link] = {}
        self._chooser: tuple[list[Link], EarliestFinish] | None = None  # for one turn of the loop
        board[:, frontend] = 0  # whatever a predecessor of ours had left there

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[Link]:
        return iter(self._links.values())

    @property
    def idle(self) -> bool:
        """No frontend has anything to be done."""
        return not self._board.any()

    @property
    def able(self) -> bool:
        """There is an instance that gives signs of life."""
        return any(not link.stalled for link in self._links.values())

    def get(self, instance: int) -> Link | None:
        """An instance by its number."""
        return self._links.get(instance)

    def add(self, instance: int, channel: Channel, cost: BatchCost) -> Link:
        """An instance is ready."""
        link = Link(instance, channel, cost)
        self._links[instance] = link
        self._look_again()
        self._board[instance, self._frontend] = 0
        return link

    def remove(self, link: Link) -> None:
        """An instance is gone."""
        self._look_again()
        self._loop.remove_writer(link.channel.socket)
        link.channel.close()
        if self._links.get(link.instance) is link:
            del self._links[link.instance]
            self._board[link.instance, self._frontend] = 0

    # Prediction

    def choose(self, besides: int | None = None) -> Link:
        """Who would finish one more image first; there is one at least.

        Args:
            besides: an instance that is not asked if there is another one: it has failed already.
        """
        if besides is not None:
            links = [link for link in self._taking if link.instance != besides] or self._taking
            return links[self._earliest(links).take()]
        if self._chooser is None:
            links = self._taking
            self._chooser = links, self._earliest(links)
            self._loop.call_soon(self._look_again)  # what is outstanding is not counted per image
        links, earliest = self._chooser
        return links[earliest.take()]

    def _earliest(self, links: Sequence[Link]) -> EarliestFinish:
        loads, _ = self.board()
        return EarliestFinish(
            [loads[link.instance] for link in links],
            [link.cost for link in links],
            [link.scale.scale for link in links],
        )

    def _look_again(self) -> None:
        self._chooser = None

    def outstanding(self) -> tuple[list[int], list[BatchCost], list[float]]:
        """What every instance has to do, with its costs and their scales.

        Images that are not handed over yet are spread as they will be: by the instances' speeds.
        """
        links = self._taking
        loads, coming = self.board()
        speeds = [1 / (link.cost.image_seconds * link.scale.scale) for link in links]
        whole = sum(speeds)
        load = [
            loads[link.instance] + round(coming * speed / whole)
            for link, speed in zip(links, speeds, strict=True)
        ]
        return load, [link.cost for link in links], [link.scale.scale for link in links]

    def board(self) -> tuple[list[int], int]:
        """Images of all frontends at each instance, by its number, and those not handed over."""
        *loads, coming = self._board.sum(axis=1).tolist()
        return loads, coming

    @property
    def _taking(self) -> list[Link]:
        links = list(self._links.values())
        return [link for link in links if not link.stalled] or links

    def coming(self, images: int) -> None:
        """Note how many images this frontend has accepted and not handed over."""
        self._board[-1, self._frontend] = images

    # Handing over

    def hand(self, link: Link, ticket: Ticket, work: Work) -> None:
        """Give an image to an instance."""
        link.tickets[ticket.number] = ticket
        self.count(link)
        if not link.unsent:
            self._loop.call_soon(self._send, link)
        link.unsent.append(work)

    def count(self, link: Link) -> None:
        """Note on the board what is outstanding at an instance."""
        if self._links.get(link.instance) is link:
            self._board[link.instance, self._frontend] = len(link.tickets)

    def _send(self, link: Link) -> None:
        """Send what one turn of the event loop has gathered: one packet, one awakening there."""
        works, link.unsent = link.unsent, []
        if link.channel.socket.fileno() >= 0 and not link.channel.send_work(works):
            self._loop.add_writer(link.channel.socket, self._flush, link.channel)

    def _flush(self, channel: Channel) -> None:
        if channel.flush():
            self._loop.remove_writer(channel.socket)
