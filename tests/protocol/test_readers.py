"""Which images' clients leave their answers lying."""

from __future__ import annotations

from dataclasses import dataclass

from predictor.protocol.readers import MOST, Readers


@dataclass(eq=False)
class Connection:
    """One whose client does as it is told."""

    answering: bool = False
    untaken: bool = False
    looked_at: int = 0

    def __getattribute__(self, name: str) -> object:
        if name == "untaken":
            self.looked_at += 1
        return super().__getattribute__(name)


def test_whoever_takes_his_answer_waits_for_the_pod_alone():
    """His next request is under way already."""
    readers, quick = Readers(), Connection(answering=True)
    readers.answered(quick, 3)

    assert readers.look() == (1, 0)


def test_images_count_as_untaken_for_as_long_as_their_client_takes():
    """One look while the request was under way, three while its answer lay there."""
    readers, slow = Readers(), Connection(untaken=True)
    readers.answered(slow, 2)
    assert readers.look() == (1, 2000)  # the first answer is seen to lie there
    slow.answering, slow.untaken = True, False
    assert readers.look() == (1, 0)
    slow.untaken = True
    for _ in range(2):
        assert readers.look() == (1, 0)
    readers.answered(slow, 4)

    assert readers.look() == (1, 4 * 1000 * 3 // 4)


def test_who_takes_nothing_any_more_has_no_images():
    """However long he sits there, the others' images are not slower for it."""
    readers, stuck = Readers(), Connection(untaken=True)
    readers.answered(stuck, 1)
    readers.look()

    assert [readers.look() for _ in range(100)] == [(1, 0)] * 100


def test_a_connection_that_is_closed_is_forgotten():
    """Whatever it was doing."""
    readers, left = Readers(), Connection(answering=True, untaken=True)
    readers.answered(left, 1)
    readers.look()
    readers.gone(left)
    readers.gone(left)

    assert readers.look() == (0, 0)


def test_idle_connections_are_not_looked_at():
    """A thousand clients that keep their connections cost nothing while they ask nothing."""
    readers = Readers()
    many = [Connection() for _ in range(3 * MOST)]
    for connection in many:
        readers.answered(connection, 1)
    for _ in range(20):
        readers.look()

    assert [connection.looked_at for connection in many] == [1] * len(many)


def test_of_many_connections_some_are_looked_at_each_time():
    """In turn; how many have a request is told of all of them."""
    readers = Readers()
    many = [Connection(answering=True) for _ in range(4 * MOST)]
    for connection in many:
        readers.answered(connection, 1)
    looks = [readers.look() for _ in range(4)]

    assert looks == [(4 * MOST, 0)] * 4
    assert all(connection.looked_at == 1 for connection in many)
