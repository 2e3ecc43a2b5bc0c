"""A model's version changes while clients ask by both protocols and processes die."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from model_store.package import ModelPackage
from tests.conftest import as_version, colour_image
from tests.end_to_end.conftest import Pod
from tests.end_to_end.grpc_load import LOST, OK, REFUSED, GrpcLoad, best_label, image_request
from tests.end_to_end.load import Load
from tests.end_to_end.test_versions import MODEL, TOKEN, answered_by, control

RED = colour_image("red")
CLIENTS = 8  # of each protocol
TWICE = ("--frontends", "2", "--instances", "2")


@pytest.fixture
def versions(colours: ModelPackage, tmp_path: Path) -> list[ModelPackage]:
    """Versions 1 and 2 of one model, side by side in a store."""
    return [as_version(colours, version, tmp_path) for version in (1, 2)]


@pytest.fixture
def start_first(start, versions):
    """Start a pod that serves version 1 and may be told to change it."""
    settings = ("--repository-token", TOKEN, "--drain-delay-s", "0")
    return lambda *flags: start(versions[0], *settings, *flags)


@dataclass(frozen=True, slots=True)
class Both:
    """Load by HTTP and by gRPC at once."""

    http: Load
    grpc: GrpcLoad

    def wait_for(self, count: int) -> None:
        """So many more answers by each."""
        self.http.wait_for(count)
        self.grpc.wait_for(count)

    def stop(self) -> tuple[set[int | str], set[str]]:
        """The kinds of outcomes of each; how many there were is told where a test fails."""
        outcomes = self.http.stop(), self.grpc.stop()
        print(*outcomes, sep="\n")
        return set(outcomes[0]), set(outcomes[1])


@contextlib.contextmanager
def load_of(pod: Pod, clients: int = CLIENTS, label: str = "red") -> Iterator[Both]:
    """Both protocols; gRPC's answers must have this label, unless it is empty."""
    right = (lambda answer: best_label(answer) == label) if label else (lambda _answer: True)
    both = Both(
        Load(f"{pod.url}/v1/models/colours:predict", RED, clients),
        GrpcLoad(pod.grpc, image_request("colours", RED), clients, right),
    )
    try:
        yield both
    finally:
        both.stop()


class Change:
    """A version is being loaded by a client of its own, whose connection may break."""

    def __init__(self, pod: Pod, version: str) -> None:
        self.status: int | None = None  # None: the frontend it asked was killed
        self.text = ""
        self._ask = threading.Thread(target=self._load, args=(pod, version))
        self._ask.start()

    def _load(self, pod: Pod, version: str) -> None:
        with contextlib.suppress(httpx.TransportError):
            answer = control(pod, "load", version=version)
            self.status, self.text = answer.status_code, answer.text

    def done(self) -> Change:
        """When it has been answered, or never will be."""
        self._ask.join()
        return self


def new_instances(pod: Pod, old: set[int], count: int = 1) -> list:
    """Once there are so many besides the old ones."""
    while True:
        found = [process for process in pod.instances() if process.pid not in old]
        if len(found) >= count:
            return found


def wait_until_only(pod: Pod, version: str, frontends: int = 2) -> None:
    """Until no frontend knows another version, and all processes are there that should be."""
    while len(pod.frontends()) != frontends or len(pod.instances()) != 2:
        pass
    steady = 0  # answers in a row that say so; enough to have come from every frontend
    while steady < 20:
        answer = httpx.get(f"{pod.url}{MODEL}")
        known = answer.json()["versions"] if answer.status_code == 200 else []
        steady = steady + 1 if known == [version] else 0


def test_a_version_changes_under_load_of_both_protocols_without_an_error(start_first):
    """Forth and back; both versions have answered, and every answer is right."""
    pod = start_first(*TWICE)
    with load_of(pod) as load:
        load.wait_for(50)
        for version in ("2", "1"):
            assert control(pod, "load", version=version).status_code == 200
            load.wait_for(50)
        outcomes = load.stop()

    assert outcomes == ({200}, {OK})
    assert set(load.grpc.versions) == {"1", "2"}
    assert {answered_by(pod) for _ in range(10)} == {"1"}


def test_a_frontend_killed_while_a_version_changes_costs_its_connections_alone(start_first):
    """The change goes through; the frontend's successor knows the new version and no other."""
    pod = start_first(*TWICE)
    old = {process.pid for process in pod.instances()}
    with load_of(pod) as load:
        load.wait_for(50)
        change = Change(pod, "2")
        new_instances(pod, old)
        victim = pod.frontends()[0]
        victim.kill()
        victim.wait()
        assert change.done().status in (200, None), change.text
        wait_until_only(pod, "2")
        load.wait_for(50)
        http, grpc = load.stop()

    assert {200} <= http <= {200, "lost"}
    # A connection that the dead one's backlog held is reset, which gRPC calls a failure to connect.
    assert {OK} <= grpc <= {OK, LOST, REFUSED}
    assert load.http.outcomes["lost"] <= CLIENTS
    assert load.grpc.outcomes[LOST] + load.grpc.outcomes[REFUSED] <= CLIENTS
    assert {answered_by(pod) for _ in range(20)} == {"2"}
    assert old.isdisjoint(process.pid for process in pod.instances())


def test_an_old_instance_killed_while_a_version_changes_costs_nothing(start_first):
    """The other one runs what it had; the new version takes over as if nothing had been."""
    pod = start_first(*TWICE)
    victim, other = pod.instances()
    with load_of(pod) as load:
        load.wait_for(50)
        change = Change(pod, "2")
        new_instances(pod, {victim.pid, other.pid})
        victim.kill()
        assert change.done().status == 200, change.text
        wait_until_only(pod, "2")
        load.wait_for(50)
        outcomes = load.stop()

    assert outcomes == ({200}, {OK})
    assert {answered_by(pod) for _ in range(20)} == {"2"}
    assert {victim.pid, other.pid}.isdisjoint(process.pid for process in pod.instances())


def test_a_new_instance_killed_before_it_is_ready_ends_the_change_and_nothing_else(start_first):
    """400 that says so; the old version answers on with its own instances, and can be changed."""
    pod = start_first(*TWICE)
    old = {process.pid for process in pod.instances()}
    with load_of(pod) as load:
        load.wait_for(50)
        change = Change(pod, "2")
        new_instances(pod, old)[0].kill()
        change.done()
        load.wait_for(50)
        assert (change.status, "before it was ready" in change.text) == (400, True), change.text
        assert {process.pid for process in pod.instances()} == old
        assert control(pod, "load", version="2").status_code == 200
        load.wait_for(50)
        outcomes = load.stop()

    assert outcomes == ({200}, {OK})
    assert {answered_by(pod) for _ in range(10)} == {"2"}


def test_a_change_with_a_backlog_of_many_batches_loses_nothing(start_first):
    """What the old version has accepted it answers, however slow it is; then it goes."""
    slow = ("--devices", "emulated:50+5", "--max-batch-size", "4", "--instances", "1")
    pod = start_first("--frontends", "2", *slow)
    with load_of(pod, clients=16, label="") as load:
        load.wait_for(16)
        for version in ("2", "1"):
            assert control(pod, "load", version=version).status_code == 200
            load.wait_for(16)
        outcomes = load.stop()

    assert outcomes == ({200}, {OK})
    assert set(load.grpc.versions) == {"1", "2"}
    assert len(pod.instances()) == 1


@pytest.mark.parametrize("device", ["cpu", "emulated:50+5"])
def test_sigterm_under_load_of_both_protocols_answers_all_that_was_accepted(start_first, device):
    """Then connections are refused, and the pod exits with 0."""
    label = "red" if device == "cpu" else ""
    pod = start_first(*TWICE, "--devices", device, "--max-batch-size", "4")
    with load_of(pod, clients=16, label=label) as load:
        load.wait_for(50)

        code = pod.stop()
        outcomes = load.stop()

    assert code == 0
    assert outcomes == ({200, "refused"}, {OK, REFUSED})


def test_sigterm_while_a_version_changes_ends_the_change_and_loses_nothing(start_first):
    """Whoever asked for it is told; no process of either version is left."""
    pod = start_first(*TWICE)
    old = {process.pid for process in pod.instances()}
    with load_of(pod) as load:
        load.wait_for(50)
        change = Change(pod, "2")
        pod.family += new_instances(pod, old)

        code = pod.stop()
        outcomes = load.stop()
        change.done()

    assert code == 0
    assert outcomes == ({200, "refused"}, {OK, REFUSED})
    assert change.status in (400, 503), change.text
