"""Pods that load from the model registry by an argument, and not from a storageUri."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.errors import RolloutError
from rollout.kserve.connect import Options
from rollout.types import Standing
from tests.rollout.kserve.objects import CANDIDATE, NAME, NAMESPACE, from_registry, runtime
from tests.rollout.kserve.rig import MODES, rigged

FOLLOWING = "--model_dir=models:/{{.Name}}@champion"
FOLLOW_NOT = {"name": "MILLRACE_FOLLOW", "value": "false"}


def loads(thing):
    """Where a predictor's pods load from."""
    model = thing["model"]
    return [each for each in model.get("args", ()) if each.startswith("--model_dir=")]


@pytest.mark.parametrize("mode", ["canary", "pair"])
@pytest.mark.parametrize("model_dir", ["", f"models:/{NAME}/3"])
def test_a_candidate_is_one_version_of_the_registry(clients, mode, model_dir):
    """Beside pods that follow @champion or are of one version; afterwards those are as before."""
    options = Options(champion="3")
    thing = from_registry(model_dir=model_dir)
    with rigged(replace(MODES[mode], options=options), clients, thing) as rig:
        rig.cluster.put(runtime(FOLLOWING))
        before = rig.service()["spec"]
        assert rig.place().stable() == "3"
        rig.launched()

        named = f"{NAME}-candidate" if mode == "pair" else NAME
        spec = rig.cluster.get("InferenceService", named, NAMESPACE)["spec"]
        predictor = spec["predictor"] if mode == "pair" else spec["canary"][0]["predictor"]
        assert loads(predictor) == [f"--model_dir=models:/{NAME}/4"]
        assert FOLLOW_NOT in predictor["model"]["env"]
        rig.carry_out(lambda place: place.withdraw(CANDIDATE))
        assert rig.service()["spec"] == before


@pytest.mark.parametrize("mode", ["canary", "pair", "knative"])
def test_promoted_it_is_that_one_version_and_follows_no_more(clients, mode):
    """Without a storageUri the webhook refuses a new name: the stable one's pods are replaced."""
    mode = replace(MODES[mode], options=Options(champion="3"))
    with rigged(mode, clients, from_registry(model_dir="")) as rig:
        rig.cluster.put(runtime(FOLLOWING))
        rig.carry_out(lambda place: place.launch(CANDIDATE))
        assert rig.place().readiness(CANDIDATE).standing is Standing.READY
        rig.carry_out(lambda place: place.share(CANDIDATE, 100))

        rig.carry_out(lambda place: place.promote(CANDIDATE))

        predictor = rig.service()["spec"]["predictor"]
        assert loads(predictor) == [f"--model_dir=models:/{NAME}/4"]
        assert FOLLOW_NOT in predictor["model"]["env"]
        assert predictor.get("name") is None
        assert rig.place().stable() == "4"


def test_which_version_is_followed_has_to_be_known(clients):
    """Nobody guesses what there was."""
    with rigged(MODES["canary"], clients, from_registry(model_dir="")) as rig:
        rig.cluster.put(runtime(FOLLOWING))

        with pytest.raises(
            RolloutError, match=r"shop/classifier: its pods load models:/.*@champion"
        ):
            rig.place().stable()
