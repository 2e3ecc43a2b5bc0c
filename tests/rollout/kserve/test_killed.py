"""A rollout on a cluster that is killed, cut off, or got in the way of, wherever that can be."""

from __future__ import annotations

import contextlib

import pytest

from rollout.errors import UnfinishedError, UnreachableError
from rollout.types import Standing
from tests.kubernetes.trouble import Harm
from tests.rollout.kserve.objects import CANDIDATE, NAME, NAMESPACE
from tests.rollout.kserve.rig import MODES, KilledError, Mortal, rigged


@pytest.fixture(params=MODES)
def rig(request, clients):
    """A model on KServe, promoted in every way there is."""
    with rigged(MODES[request.param], clients) as rig:
        yield rig


LAUNCH = [("launch", ()), ("readiness", ())]
ENDS = {
    "promoted": [*LAUNCH, ("share", (10,)), ("share", (100,)), ("promote", ())],
    "withdrawn": [*LAUNCH, ("share", (10,)), ("withdraw", ())],
    "withdrawn from all": [*LAUNCH, ("share", (100,)), ("withdraw", ())],
}


def give(place, order):
    """To a Place, as a rollout does."""
    name, more = order
    found = getattr(place, name)(CANDIDATE, *more)
    if name == "readiness" and found.standing is Standing.STARTING:
        raise UnfinishedError(found.reason)


def until_through(rig, order, attempt):
    """``attempt(number)`` gives a client; the order is given again by another process each time."""
    for number in range(1, 100):
        client = attempt(number)
        through = False
        with contextlib.suppress(KilledError, UnreachableError):
            give(rig.place(client), order)
            through = True
        rig.controller.settle()
        assert "lost" not in rig.shares(), (order, number)
        if through:
            return number
    raise AssertionError(f"{order} is never through")


def end_of(rig, orders):
    """What is left when nothing goes wrong."""
    for order in orders:
        rig.carry_out(lambda place, order=order: give(place, order))
    return rig.end()


@pytest.mark.parametrize("end", ENDS)
def test_killed_after_any_request_it_ends_the_same(rig, another_rig, end):
    """After its first, by another one after its second, and so on through every order."""
    expected = end_of(another_rig, ENDS[end])

    for order in ENDS[end]:
        attempts = until_through(rig, order, lambda number: Mortal(rig.client, number))
        assert attempts > 2  # it was killed at all

    assert rig.end() == expected


def test_connections_that_are_lost_change_nothing(rig, another_rig):
    """Every request is lost once before it is done, and its answer once after."""
    expected = end_of(another_rig, ENDS["promoted"])

    for order in ENDS["promoted"]:
        for harm in (Harm.LOST, Harm.UNHEARD):
            for verb in ("get", "list", "create", "patch", "delete"):
                trouble = rig.cluster.trouble(harm, verb, f"/namespaces/{NAMESPACE}/")
                until_through(rig, order, lambda _: rig.client)
                trouble.times = 0

    assert rig.end() == expected


def test_another_writer_is_in_the_way_each_time(rig):
    """Somebody labels the InferenceService again and again; nothing of either is lost."""
    count = 0

    class Crowded(Mortal):
        """Before each of the first patches somebody else is faster."""

        def _ask(self, verb, resource, name, **more):
            nonlocal count
            if verb == "patch" and resource.kind == "InferenceService" and self.left:
                self.left -= 1
                count += 1
                label = {"metadata": {"labels": {f"example.com/n{count}": "x"}}}
                rig.cluster.patch("InferenceService", NAME, label, NAMESPACE)
            return super(Mortal, self)._ask(verb, resource, name, **more)

    for order in ENDS["promoted"]:
        client = Crowded(rig.client, 3)
        rig.carry_out(lambda place, order=order: give(place, order), client)

    labels = rig.service()["metadata"]["labels"]
    assert count > 3
    assert sum(each.startswith("example.com/") for each in labels) == count
    assert rig.shares() == {"4": 100}
