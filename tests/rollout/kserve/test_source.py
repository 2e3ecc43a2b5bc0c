"""Which version a predictor's pods load, and what lets them load another one."""

from __future__ import annotations

import copy

import pytest

from rollout.errors import RolloutError
from rollout.kserve.source import Sources, loads, put_source, source_of
from tests.rollout.kserve.objects import CANDIDATE, NAME, STORAGE, from_registry, service

RUNTIME = ("--model_name={{.Name}}", "--model_dir=models:/{{.Name}}@champion")


def predictor_of(thing):
    """Of an InferenceService."""
    return copy.deepcopy(thing["spec"]["predictor"])


def test_another_version_is_where_the_first_one_is():
    """By the last part of the storageUri, which is its number; nothing else changes."""
    stable = predictor_of(service())
    candidate = predictor_of(service())

    Sources().serve(candidate, CANDIDATE)

    assert Sources().version(stable) == "3"
    assert candidate["model"].pop("storageUri") == f"{STORAGE}/4"
    assert Sources().version({"model": {"storageUri": "pvc://models/digits/12/"}}) == "12"
    del stable["model"]["storageUri"]
    assert candidate == stable


def test_or_where_the_plan_says():
    """Read as well as written, so that a version in the middle is understood."""
    sources = Sources("s3://models/{name}/v{version}/package")
    candidate = predictor_of(service())
    candidate["model"]["storageUri"] = "s3://models/cats/v3/package"
    assert sources.version(candidate) == "3"

    sources.serve(candidate, CANDIDATE)

    assert candidate["model"]["storageUri"] == f"s3://models/{NAME}/v4/package"
    assert sources.version(candidate) == "4"
    # The stable version may be where the plan's others are not.
    assert sources.version(predictor_of(service())) == "3"


@pytest.mark.parametrize("uri", ["s3://models/classifier/latest", "s3://models/classifier/v3"])
def test_a_place_that_says_no_version_is_refused(uri):
    """With what would make it so."""
    predictor = {"model": {"storageUri": uri}}

    for ask in (Sources().version, lambda each: Sources().serve(each, CANDIDATE)):
        with pytest.raises(RolloutError, match=r"`storage` in plan.yaml"):
            ask(predictor)


def test_a_pod_of_the_registry_is_given_one_version():
    """The last argument holds, and of one version there is nothing to follow."""
    predictor = predictor_of(from_registry(model_dir=f"models:/{NAME}/3"))
    assert Sources().version(predictor, RUNTIME) == "3"

    Sources().serve(predictor, CANDIDATE)
    Sources().serve(predictor, CANDIDATE)

    assert predictor["model"]["args"] == ["--frontends=2", f"--model_dir=models:/{NAME}/4"]
    assert predictor["model"]["env"] == [
        {"name": "MILLRACE_LOG_LEVEL", "value": "info"},
        {"name": "MILLRACE_FOLLOW", "value": "false"},
    ]
    assert Sources().version(predictor, RUNTIME) == "4"


def test_a_candidate_is_not_held_to_the_stable_versions_package():
    """Whose digest `millrace manifests` pins; the rest of its variables it has."""
    pin = {"name": "MILLRACE_PACKAGE_SHA256", "value": "0" * 64}
    other = {"name": "MILLRACE_LOG_LEVEL", "value": "info"}
    for thing in (service(), from_registry(model_dir=f"models:/{NAME}/3")):
        predictor = predictor_of(thing)
        predictor["model"]["env"] = [pin, other]

        Sources().serve(predictor, CANDIDATE)

        assert pin not in predictor["model"]["env"]
        assert other in predictor["model"]["env"]


def test_a_candidate_is_known_without_the_registry():
    """By what was written for it, whatever the stable version follows."""
    for thing in (service(), from_registry(model_dir=""), from_registry(model_dir="models:/c/3")):
        predictor = predictor_of(thing)
        assert not Sources().serves(predictor, CANDIDATE)
        Sources().serve(predictor, CANDIDATE)
        assert Sources().serves(predictor, CANDIDATE)
    bare = {"model": {}}
    assert not Sources().serves(bare, CANDIDATE)
    with pytest.raises(RolloutError, match="says no version"):
        Sources().version(bare)


def test_a_flag_and_its_value_may_be_two_arguments():
    """As a shell would have it."""
    predictor = {"model": {"args": ["--model-dir", "models:/cats/3", "--frontends", "2"]}}
    assert Sources().version(predictor) == "3"

    Sources().serve(predictor, CANDIDATE)

    assert predictor["model"]["args"] == ["--frontends", "2", f"--model_dir=models:/{NAME}/4"]


def test_pods_that_follow_serve_the_champion():
    """Which the registry knows, and whoever has asked it."""
    predictor = predictor_of(from_registry(model_dir=""))

    assert Sources(champion="3").version(predictor, RUNTIME) == "3"
    with pytest.raises(RolloutError, match="says no version"):
        Sources().version(predictor, RUNTIME)
    with pytest.raises(RolloutError, match="follow @staging"):
        Sources(champion="3").version(predictor, ("--model_dir=models:/x@staging",))


@pytest.mark.parametrize("predictor", [{"containers": [{"name": "x"}]}, {"onnx": {}}])
def test_a_predictor_without_a_model_is_refused(predictor):
    """KServe refuses a canary of it too."""
    with pytest.raises(RolloutError, match="no `model`"):
        Sources().version(predictor)


@pytest.mark.parametrize(
    "thing", [service(), from_registry(model_dir=""), from_registry(model_dir="models:/c/3")]
)
def test_what_was_there_is_put_back(thing):
    """Whichever way it was, and what others changed meanwhile stays."""
    predictor = predictor_of(thing)
    source = source_of(predictor)
    Sources().serve(predictor, CANDIDATE)
    predictor["model"]["resources"] = {"limits": {"cpu": "4"}}

    put_source(predictor, source)

    expected = predictor_of(thing)
    expected["model"]["resources"] = {"limits": {"cpu": "4"}}
    assert predictor == expected


@pytest.mark.parametrize(
    "thing", [service(), from_registry(model_dir=""), from_registry(model_dir="models:/c/3")]
)
@pytest.mark.parametrize("pinned", [False, True])
def test_arguments_and_variables_of_others_stay(thing, pinned):
    """Only what goes with one version was a rollout's; so it is with that of before."""
    predictor, expected = predictor_of(thing), predictor_of(thing)
    if pinned:
        pin = {"name": "MILLRACE_PACKAGE_SHA256", "value": "0" * 64}
        predictor["model"]["env"].append(pin)
        expected["model"]["env"].append(pin)
    source = source_of(predictor)
    Sources().serve(predictor, CANDIDATE)
    model = predictor["model"]
    model["args"] = ["--verbose", *model.get("args", ())]
    model["env"] = [{"name": "MILLRACE_HOTFIX", "value": "1"}, *model["env"]]

    put_source(predictor, source)

    model = expected["model"]
    model["args"] = ["--verbose", *model.get("args", ())]
    model["env"] = [{"name": "MILLRACE_HOTFIX", "value": "1"}, *model["env"]]
    assert predictor == expected


def test_what_pods_load_is_seen_in_what_kserve_made():
    """Version 1 is not version 10's beginning."""
    predictor = {"model": {"storageUri": "s3://models/c/1"}}
    annotation = "internal.serving.kserve.io/storage-initializer-sourceuri"

    assert loads({"metadata": {"annotations": {annotation: "s3://models/c/1"}}}, predictor)
    assert not loads({"metadata": {"annotations": {annotation: "s3://models/c/10"}}}, predictor)
    pinned = {"model": {"args": ["--model_dir=models:/c/1"]}}
    assert loads({"spec": {"containers": [{"args": ["--model_dir=models:/c/1"]}]}}, pinned)
    assert not loads({"spec": {"containers": [{"args": ["--model_dir=models:/c/12"]}]}}, pinned)
