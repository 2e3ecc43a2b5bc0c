"""Slots in shared memory and the channel that passes their numbers."""

from __future__ import annotations

import os

import numpy as np
import pytest

from predictor.slab import Board, Channel, Completion, Outcome, Slab, SlabLayout, Work

LAYOUT = SlabLayout(slots=5, height=7, width=3, top_k=2)


def test_two_mappings_of_a_slab_are_the_same_memory():
    """What a decoder writes on one side an instance reads on the other, and the other way round."""
    fd = Slab.create(LAYOUT)
    frontend, instance = Slab(fd, LAYOUT), Slab(fd, LAYOUT)
    os.close(fd)

    frontend.pixels[4] = 200
    instance.indices[4] = (9, 8)
    instance.scores[4] = (0.5, 0.25)

    assert instance.pixels[4].shape == (7, 3, 3)
    assert np.all(instance.pixels[4] == 200)
    assert not instance.pixels[:4].any()
    assert frontend.indices[4].tolist() == [9, 8]
    assert frontend.scores[4].tolist() == [0.5, 0.25]


def test_the_regions_of_a_slab_do_not_overlap():
    """Filling each region leaves all others as they were."""
    fd = Slab.create(LAYOUT)
    slab = Slab(fd, LAYOUT)
    os.close(fd)
    regions = (slab.pixels, slab.indices, slab.scores, slab.abandoned, slab.started)

    for number, region in enumerate(regions, start=1):
        region[...] = number

    assert all(np.all(region == number) for number, region in enumerate(regions, start=1))


def test_a_slab_that_does_not_fit_in_memory_is_refused_at_once():
    """Rather than by a kill under load."""
    with pytest.raises(OSError, match="needs 50331710000000000 bytes"):
        Slab.create(SlabLayout(slots=10**9, height=4096, width=4096, top_k=5))


def test_a_board_is_shared():
    """One frontend's column is read by all."""
    fd = Board.create(rows=2, frontends=3)
    ours, theirs = Board(fd, 2, 3), Board(fd, 2, 3)
    os.close(fd)

    ours.outstanding[1, 2] = 7

    assert theirs.outstanding.tolist() == [[0, 0, 0], [0, 0, 7]]


def test_messages_arrive_as_they_were_sent():
    """Several in one packet, both directions."""
    left, right = (Channel(end) for end in Channel.pair())
    works = [Work(1, 2, 3, 4, 5, 6, 7), Work(*[2**32 - 1] * 2, 255, *[2**64 - 1] * 4)]
    completions = [
        Completion(1, 2, Outcome.DONE, 8, 2**64 - 2, 2**64 - 1),
        Completion(3, 4, Outcome.EXPIRED),
    ]

    assert left.send_work(works)
    assert right.send_completions(completions)

    assert works == right.receive_work()
    assert completions == left.receive_completions()
    assert right.receive_work() == []
    left.close()
    right.close()


def test_a_reader_that_is_slow_loses_nothing_and_blocks_nobody():
    """What the socket does not take waits in the outbox and follows in order."""
    left, right = (Channel(end) for end in Channel.pair())
    sent = [Work(number, number, 0, 0, 0, 0, 0) for number in range(100_000)]

    assert not left.send_work(sent)
    received: list[Work] = []
    while len(received) < len(sent):
        received += right.receive_work() or []
        left.flush()

    assert sent == received
    left.close()
    right.close()


def test_a_peer_that_is_gone_is_noticed():
    """The reader sees None, the writer goes on without an error."""
    left, right = (Channel(end) for end in Channel.pair())
    right.close()

    assert left.send_work([Work(1, 2, 3, 4, 5, 6, 7)])
    assert left.receive_completions() is None
    left.close()
