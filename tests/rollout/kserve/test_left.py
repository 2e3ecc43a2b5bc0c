"""A rollout whose state somebody has deleted, and the abort that ends it all the same."""

from __future__ import annotations

import pytest

from rollout.errors import NotFoundError
from rollout.run import roll_out
from tests.rollout.kserve.customers import PLAN, Customers
from tests.rollout.kserve.objects import CANDIDATE, NAME, NAMESPACE
from tests.rollout.kserve.rig import MODES, rigged
from tests.rollout.test_command import Command


@pytest.mark.parametrize("mode", ["knative", "canary", "pair"])
def test_an_abort_finds_what_is_left_of_a_rollout_without_a_state(clients, mode, tmp_path):
    """Whoever carried it out has left; the InferenceService remembers what it was."""
    with rigged(MODES[mode], clients) as rig:
        before = rig.service()["spec"]
        customers = Customers(rig)
        ledger = f"{NAME}-rollout"
        customers.at[40] = lambda: rig.cluster.delete("ConfigMap", ledger, NAMESPACE)
        with pytest.raises(NotFoundError, match="`millrace rollout abort` sends the requests back"):
            roll_out(
                customers.parts(rig.place()),
                CANDIDATE,
                PLAN,
                holder="one",
                clock=customers,
                tell=lambda _: None,
            )
        assert rig.shares() == {"3": 90, "4": 10}
        config = rig.cluster.kubeconfig(tmp_path, namespace=NAMESPACE)
        abort = ("abort", NAME, "--kubeconfig", config)

        ended = Command(*abort, cwd=tmp_path)

        assert ended.end() == 0, ended.output
        assert "version 4 has no requests any more, version 3 has them all" in ended.output
        rig.controller.settle()
        assert rig.shares() == {"3": 100}
        assert rig.service()["spec"] == before
        assert rig.cluster.list("ConfigMap", NAMESPACE) == []
        again = Command(*abort, cwd=tmp_path)
        assert again.end() == 2
        assert "no rollout is under way: there is nothing to abort" in again.output
