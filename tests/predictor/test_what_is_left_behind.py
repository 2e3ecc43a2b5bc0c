"""What processes that die leave behind, and what those that live on make of it."""

from __future__ import annotations

import fcntl
import threading

import pytest

from model_store.errors import PackageError
from predictor.loaded_version import LoadedVersion
from predictor.machine import Machine
from predictor.metric_files import LOCK_FILE, bury
from predictor.placement import parse_devices, place
from predictor.process import same_package
from predictor.settings import Settings
from predictor.slab import Board, Channel, Completion, Outcome, Work
from tests.conftest import as_version

WORK = Work(0, 7, 1, 1, 2, 3, 4)


def test_what_was_posted_before_a_death_is_still_read():
    """Though the peer died with something unread, which the kernel tells first."""
    mine, theirs = (Channel(each) for each in Channel.pair())
    mine.send_work([WORK])
    theirs.send_completions([Completion(0, 7, Outcome.DONE)])
    theirs.close()

    completions = mine.receive_completions()

    assert [each.ticket for each in completions or []] == [7]
    assert mine.receive_completions() is None
    mine.close()


def test_the_work_of_a_dead_frontend_is_forgotten(colours):
    """The others need not reckon with it; their own stays."""
    machine = Machine(cores=(0, 1), usable=2)
    places = place(parse_devices(["cpu"], machine, {}), 2, machine, {})
    version = LoadedVersion.reserve(Settings(frontends=2, instances=2), colours, places, 0)
    board = Board(version.board, 3, 2).outstanding
    board[:] = 5

    version.forget_work_of(1)

    assert board.tolist() == [[5, 0]] * 3
    version.release()


def test_a_version_whose_files_are_others_by_now_is_refused(colours, tmp_path):
    """An instance that is started again must not serve another package under its name."""
    served, other = (as_version(colours, version, tmp_path) for version in (1, 2))

    assert same_package(str(served.path), served.digest).digest == served.digest
    with pytest.raises(PackageError, match="another package than was loaded"):
        same_package(str(other.path), served.digest)


def test_a_burial_waits_for_who_reads(tmp_path):
    """Which is why the supervisor has a thread do it: a reader may stand still."""
    with (tmp_path / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        burial = threading.Thread(target=bury, args=(2**22 + 1, tmp_path))
        burial.start()
        burial.join(0.2)
        assert burial.is_alive()
    burial.join(10)

    assert not burial.is_alive()
