"""The feeder, between frontends that the test plays and a device that it plays as well."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pytest

from predictor.batch_run import run_batch
from predictor.batching import BatchPolicy
from predictor.control import Control, Message
from predictor.feeder import Batch, Feeder
from predictor.slab import Channel, Completion, Outcome, Slab, SlabLayout, Work
from predictor.types import Answers

LAYOUT = SlabLayout(slots=32, height=2, width=2, top_k=1)
SHAPE = (2, 2, 3)
LONG_NS = 60 * 10**9


class Memory:
    """A runtime's memory that remembers which rows it was told of."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def allocate(self, shape: tuple[int, ...]) -> np.ndarray:
        """Plain memory."""
        return np.zeros(shape, np.uint8)

    def ahead(self, buffer: np.ndarray, first: int, end: int) -> None:
        """Remember."""
        self.told.append((first, end))


class Rig:
    """One feeder with batches of up to 4, and one frontend's end of its channel and slab."""

    def __init__(self) -> None:
        self.control, theirs = Control.pair()
        self.dropped: list[Outcome] = []
        self.memory = Memory()
        policy = BatchPolicy(max_batch_size=4)
        self.feeder = Feeder(theirs, SHAPE, policy, self.memory, self.dropped.append)
        fd = Slab.create(LAYOUT)
        self.slab = Slab(fd, LAYOUT)
        mine, other = Channel.pair()
        self.channel = Channel(mine)
        attach = Message("attach", {"layout": asdict(LAYOUT)}, (other.fileno(), fd))
        self.control.send(attach)
        other.close()
        os.close(fd)
        self._theirs = theirs

    def hand(self, *slots: int, deadline_ns: int | None = None) -> None:
        """Images, each of which has its slot's number as its pixels."""
        now = time.monotonic_ns()
        due = now + LONG_NS if deadline_ns is None else deadline_ns
        for slot in slots:
            self.slab.pixels[slot] = slot
            self.slab.started[slot] = 0
            self.slab.abandoned[slot] = 0
        self.channel.send_work([Work(slot, slot, 1, now, now, due, due) for slot in slots])

    def gathered(self, count: int) -> None:
        """Wait until so many images have been copied in all."""
        while sum(end - first for first, end in self.memory.told) < count:
            time.sleep(0)

    def completions(self, count: int) -> dict[int, Outcome]:
        """What became of so many images, by slot."""
        found: list[Completion] = []
        while len(found) < count:
            found += self.channel.receive_completions() or []
        return {each.slot: each.outcome for each in found}

    def close(self) -> None:
        """Give the sockets back."""
        self.control.close()
        self.channel.close()
        self._theirs.close()


def classes(images: np.ndarray) -> Answers:
    """Every image is of the class that its pixels say."""
    first = images[:, 0, 0, :1].astype(np.int64)
    return Answers(first, np.ones(first.shape, np.float32))


def finish(feeder: Feeder, batch: Batch) -> list[int]:
    """Run and complete a batch; the slots that were in it."""
    for part in run_batch(classes, batch.images).parts:
        feeder.complete(batch, part)
    return [item.work.slot for item in batch.items]


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A feeder that runs; stopped at the end."""
    made = Rig()
    with contextlib.closing(made), made.feeder:
        yield made


def test_what_is_gathered_while_a_batch_runs_is_the_next_batch(rig):
    """And the device gets the pixels of the slots."""
    rig.hand(1, 2, 3)
    rig.gathered(3)
    first = rig.feeder.next_batch()
    rig.hand(4, 5)
    rig.gathered(5)

    assert finish(rig.feeder, first) == [1, 2, 3]
    assert finish(rig.feeder, rig.feeder.next_batch()) == [4, 5]
    assert set(rig.completions(5)) == {1, 2, 3, 4, 5}
    assert [rig.slab.indices[slot, 0] for slot in (1, 4, 5)] == [1, 4, 5]


def test_images_gathered_for_a_client_that_left_since_are_not_computed(rig):
    """The buffer was filled while it still waited; the others move up, and more come in."""
    rig.hand(1, 2, 3, 4)
    rig.gathered(4)
    rig.hand(5, 6)
    rig.slab.abandoned[[1, 3]] = 1

    batch = rig.feeder.next_batch()

    slots = finish(rig.feeder, batch)
    assert {2, 4} <= set(slots)
    assert not {1, 3} & set(slots)
    assert batch.images[:, 0, 0, 0].tolist() == slots
    assert rig.completions(2 + len(slots)).items() >= {
        (1, Outcome.ABANDONED),
        (3, Outcome.ABANDONED),
    }


def test_images_gathered_whose_deadline_has_passed_since_are_not_computed(rig):
    """They are told so, and only those in time run."""
    soon = time.monotonic_ns() + 20_000_000
    rig.hand(1, deadline_ns=soon)
    rig.hand(2)
    rig.gathered(2)
    while time.monotonic_ns() <= soon:
        time.sleep(0)

    assert finish(rig.feeder, rig.feeder.next_batch()) == [2]
    assert rig.completions(2) == {1: Outcome.EXPIRED, 2: Outcome.DONE}
    assert rig.dropped == [Outcome.EXPIRED]


def test_only_images_whose_batch_began_are_to_blame_for_its_end(rig):
    """Those gathered behind it have done nothing yet."""
    rig.hand(1)
    rig.gathered(1)
    rig.feeder.next_batch()
    rig.hand(2)
    rig.gathered(2)

    assert rig.slab.started[[1, 2]].tolist() == [1, 0]


def test_a_stop_lets_everything_that_was_handed_over_be_computed(rig):
    """However many batches that takes."""
    rig.hand(*range(14))
    rig.control.send(Message("stop"))

    slots: list[int] = []
    while (batch := rig.feeder.next_batch()) is not None:
        slots += finish(rig.feeder, batch)

    assert sorted(slots) == list(range(14))
    assert len(rig.completions(14)) == 14


def test_a_stop_with_nothing_but_dropped_images_ends(rig):
    """Nobody is left to wait for."""
    rig.hand(1, 2, deadline_ns=1)
    rig.control.send(Message("stop"))

    assert rig.feeder.next_batch() is None


def test_the_device_is_told_of_every_row_before_its_batch_runs(rig):
    """So that it can copy them while the batch before runs."""
    rig.hand(1, 2)
    rig.gathered(2)
    rig.hand(3)
    rig.gathered(3)

    batch = rig.feeder.next_batch()

    covered = {row for first, end in rig.memory.told for row in range(first, end)}
    assert covered == set(range(len(batch.items)))


def test_a_limit_that_is_lifted_leaves_nobody_waiting(rig):
    """What was gathered under the old one is less than a full batch, and more waits behind it."""
    rig.feeder.limit(2)
    rig.hand(*range(8))
    rig.gathered(2)
    rig.feeder.limit(4)

    slots: list[int] = []
    while len(slots) < 8:
        slots += finish(rig.feeder, rig.feeder.next_batch())

    assert sorted(slots) == list(range(8))


def test_answers_are_posted_while_images_are_copied(rig):
    """Whoever runs batches needs no lock that the copying holds."""
    rig.hand(1)
    rig.gathered(1)
    batch = rig.feeder.next_batch()
    with rig.feeder._ready:
        poster = threading.Thread(target=finish, args=(rig.feeder, batch))
        poster.start()
        poster.join(10)
        assert not poster.is_alive()

    assert rig.completions(1) == {1: Outcome.DONE}
