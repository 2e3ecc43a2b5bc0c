"""What the demo concludes from what it saw."""

import pytest

from examples import demo
from examples.clients import Answer, Reading
from examples.live_traffic import Traffic
from examples.pipeline_runs import Outcome
from examples.server import Stop

LABELS = ["0", "1", "2", "3"] * 10
CLEAN = Stop(exit_code=0, left_behind=())


def reading(protocol="v1", labels=LABELS):
    """Every image answered with ``labels`` through ``protocol``."""
    return Reading(protocol, tuple(Answer(label, int(label), 0.9) for label in labels), 0.5)


def wrong_at(*places):
    """The right labels but for those at ``places``."""
    return [str((int(label) + (at in places)) % 10) for at, label in enumerate(LABELS)]


def test_good_answers_the_same_everywhere_and_a_clean_stop_succeed():
    """Exit code 0."""
    assert demo.conclude([reading("v1"), reading("gRPC")], LABELS, CLEAN) == 0


@pytest.mark.parametrize(
    ("readings", "stop"),
    [
        ([reading(), reading(labels=wrong_at(3))], CLEAN),
        ([reading(labels=wrong_at(1, 2, 3))] * 2, CLEAN),
        ([reading()] * 2, Stop(exit_code=1, left_behind=())),
        ([reading()] * 2, Stop(exit_code=None, left_behind=("millrace: supervisor",))),
        ([reading()] * 2, Stop(exit_code=0, left_behind=("millrace: instance",))),
    ],
    ids=["disagreement", "low accuracy", "exit code", "no end", "left behind"],
)
def test_one_broken_promise_fails_the_demo(readings, stop):
    """Exit code 1 for any of them."""
    assert demo.conclude(readings, LABELS, stop) == 1


def test_agreement_counts_images_on_which_all_protocols_say_the_same():
    """One dissenter is enough to lose an image."""
    readings = [reading(), reading(labels=wrong_at(0)), reading(labels=wrong_at(0, 5))]
    assert demo.agreement(readings) == len(LABELS) - 2


def test_accuracy_is_the_share_of_right_labels():
    """Against the folder's label, not the class index."""
    assert demo.accuracy_of(reading(labels=wrong_at(0, 1, 2, 3)), LABELS) == 0.9


AS_EXPECTED = {"digits.onnx": "promoted", "worse.onnx": "refused", "slow.onnx": "aborted"}
ALIASES = {"champion": "2", "previous": "1"}


def outcomes(**changed):
    """What the three candidates came to, but for ``changed`` ones."""
    return [
        Outcome(network, changed.get(network.partition(".")[0], outcome), "why", "2", "run", 1.0)
        for network, outcome in AS_EXPECTED.items()
    ]


def test_three_candidates_that_end_as_they_deserve_and_no_failed_request_succeed():
    """Exit code 0."""
    assert demo.EXPECTED == AS_EXPECTED
    assert demo.conclude_rollouts(outcomes(), Traffic(100, 0, {}), ALIASES) == 0


@pytest.mark.parametrize(
    ("ended", "traffic", "aliases"),
    [
        (outcomes(digits="aborted"), Traffic(100, 0, {}), ALIASES),
        (outcomes(worse="promoted"), Traffic(100, 0, {}), ALIASES),
        (outcomes(slow="promoted"), Traffic(100, 0, {}), ALIASES),
        (outcomes()[:2], Traffic(100, 0, {}), ALIASES),
        (outcomes(), Traffic(100, 1, {"503": 1}), ALIASES),
        (outcomes(), Traffic(0, 0, {}), ALIASES),
        (outcomes(), Traffic(100, 0, {}), ALIASES | {"challenger": "3"}),
    ],
    ids=["not promoted", "not stopped", "not back", "missing", "failure", "no client", "left"],
)
def test_a_candidate_that_ends_otherwise_or_a_failed_request_fails_the_demo(
    ended, traffic, aliases
):
    """Exit code 1 for any of them."""
    assert demo.conclude_rollouts(ended, traffic, aliases) == 1
