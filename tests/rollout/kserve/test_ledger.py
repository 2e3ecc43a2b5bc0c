"""The state of a rollout in a ConfigMap beside the InferenceService."""

from __future__ import annotations

import json

import pytest

from rollout.errors import ConflictError, NotFoundError, RolloutError, UnreachableError
from rollout.kserve.ledger import MOST_BYTES, ConfigMapLedger, within_bounds
from rollout.types import Kept
from tests.kubernetes.trouble import Harm
from tests.rollout.kserve.objects import NAME, NAMESPACE, service


@pytest.fixture
def ledger(cluster, client):
    """Of an InferenceService that is there."""
    cluster.create(service())
    return ConfigMapLedger(client, NAME)


def test_what_was_written_is_read(cluster, ledger):
    """With the mark that the next writer must name."""
    assert ledger.read() is None

    first = ledger.write('{"phase": "dark"}', None)
    second = ledger.write('{"phase": "step"}', first)

    assert ledger.read() == Kept('{"phase": "step"}', second)
    assert first != second
    kept = cluster.get("ConfigMap", f"{NAME}-rollout", NAMESPACE)
    assert kept["metadata"]["resourceVersion"] == second


def test_it_goes_with_the_inferenceservice(cluster, ledger):
    """Whose it is; that one's pods know nothing of it."""
    before = cluster.get("InferenceService", NAME, NAMESPACE)

    ledger.write("{}", None)

    (owner,) = cluster.get("ConfigMap", f"{NAME}-rollout", NAMESPACE)["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("InferenceService", before["metadata"]["uid"])
    assert cluster.get("InferenceService", NAME, NAMESPACE) == before


def test_the_second_of_two_writers_is_told_so(ledger):
    """Of two that begin, and of two that go on."""
    first = ledger.write("{}", None)
    with pytest.raises(ConflictError):
        ledger.write("{}", None)
    ledger.write('{"a": 1}', first)

    with pytest.raises(ConflictError):
        ledger.write('{"b": 1}', first)

    kept = ledger.read()
    assert kept is not None
    assert kept.state == '{"a": 1}'


def test_a_state_that_was_deleted_is_no_longer_ones_own(cluster, ledger):
    """It is not made again behind the back of whoever deleted it."""
    first = ledger.write("{}", None)
    cluster.delete("ConfigMap", f"{NAME}-rollout", NAMESPACE)

    with pytest.raises(ConflictError, match="deleted"):
        ledger.write("{}", first)

    assert ledger.read() is None


def test_a_write_whose_answer_was_lost_is_found_again(cluster, ledger):
    """Whoever then reads the newest goes on with it."""
    first = ledger.write("{}", None)
    cluster.trouble(Harm.UNHEARD, "patch")
    with pytest.raises(UnreachableError):
        ledger.write('{"a": 1}', first)

    kept = ledger.read()
    assert kept is not None
    assert kept.state == '{"a": 1}'
    ledger.write('{"a": 2}', kept.revision)


def test_there_is_no_state_of_an_inferenceservice_that_is_not_there(client):
    """It would stay for ever."""
    with pytest.raises(NotFoundError):
        ConfigMapLedger(client, "nobody").write("{}", None)


def test_the_oldest_of_the_history_goes_where_it_is_too_long():
    """An object holds 1 MiB; what is decided by stays whole."""
    events = [{"at": number, "text": "x" * 600} for number in range(4000)]
    state = json.dumps({"phase": "step", "events": events})

    kept = within_bounds(state)

    assert len(kept.encode()) <= MOST_BYTES
    content = json.loads(kept)
    assert content["phase"] == "step"
    assert content["events"][-1] == events[-1]
    assert 1000 < len(content["events"]) < 2000
    assert within_bounds('{"phase": "step"}') == '{"phase": "step"}'
    with pytest.raises(RolloutError, match="shorten its plan"):
        within_bounds(json.dumps({"plan": "x" * MOST_BYTES, "events": events}))
