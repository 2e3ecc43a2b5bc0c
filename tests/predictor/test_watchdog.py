"""Who is taken to hang, by a clock of the test's own."""

from __future__ import annotations

import os

import pytest

from predictor.child import Child
from predictor.pulse import Pulse
from predictor.watchdog import LOOK_S, Watchdog

HANG_S, STARTUP_S = 5.0, 60.0
SECOND = 1_000_000_000


class Patient(Child):
    """A child that is ready and runs until it is killed."""

    def __init__(self) -> None:
        super().__init__("instance", 0)
        self.killed = False
        self.pulse_fd = Pulse.create()
        self.pulse = Pulse(self.pulse_fd)
        os.close(self.pulse_fd)
        self.ready.set()

    @property
    def running(self) -> bool:
        """Whether nobody killed it."""
        return not self.killed

    def kill(self) -> None:
        """Note it."""
        self.killed = True


class Ward:
    """A watchdog, its one patient, and the time."""

    def __init__(self) -> None:
        self.now_ns = 1000 * SECOND
        self.patient = Patient()
        self.dog = Watchdog(lambda: [self.patient], HANG_S, STARTUP_S, lambda: self.now_ns)

    def live(self, seconds: float, *, beating: bool) -> None:
        """Let time pass, looked at as often as ever."""
        for _ in range(int(seconds / LOOK_S)):
            self.now_ns += int(LOOK_S * SECOND)
            if beating:
                self.patient.pulse._cells[0] = self.now_ns
            self.dog.look()


@pytest.fixture
def ward() -> Ward:
    """All is well so far."""
    ward = Ward()
    ward.live(20, beating=True)
    return ward


def test_who_gives_signs_of_life_is_left_alone(ward):
    """For as long as it does."""
    ward.live(100, beating=True)

    assert not ward.patient.killed


def test_who_is_silent_for_the_timeout_is_killed(ward):
    """Not before."""
    ward.live(HANG_S, beating=False)
    before = ward.patient.killed
    ward.live(2 * LOOK_S, beating=False)

    assert (before, ward.patient.killed) == (False, True)
    assert "no sign of life" in ward.patient.failure


def test_a_batch_that_does_not_end_is_a_hang_though_the_process_lives(ward):
    """Stuck in a driver, say: other threads go on."""
    ward.patient.pulse.batch_due(ward.now_ns + 30 * SECOND)
    ward.live(29, beating=True)
    before = ward.patient.killed
    ward.live(2, beating=True)

    assert (before, ward.patient.killed) == (False, True)


def test_a_batch_that_ended_is_not_waited_for(ward):
    """However long ago it began."""
    ward.patient.pulse.batch_due(ward.now_ns + SECOND)
    ward.patient.pulse.batch_due(0)
    ward.live(100, beating=True)

    assert not ward.patient.killed


def test_a_pod_that_stood_still_as_a_whole_kills_nobody(ward):
    """After a suspended machine or a frozen cgroup everybody has been silent."""
    ward.patient.pulse.batch_due(ward.now_ns + SECOND)
    ward.now_ns += 3600 * SECOND
    ward.dog.look()
    ward.patient.pulse.batch_due(0)
    ward.live(20, beating=True)

    assert not ward.patient.killed


def test_a_successor_that_never_gets_ready_is_killed(ward):
    """After the time a start may take."""
    ward.patient.ready.clear()
    ward.patient.spawned_ns = ward.now_ns
    ward.live(STARTUP_S - 1, beating=False)
    before = ward.patient.killed
    ward.live(2, beating=False)

    assert (before, ward.patient.killed) == (False, True)
