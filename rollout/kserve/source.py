"""Which version a predictor's pods load, and from where: its storageUri, or its arguments."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rollout.errors import RolloutError
from rollout.kserve.resources import Manifest
from rollout.types import Version

# What of `predictor.model` says which version is served: all that a rollout changes of it.
SOURCE_KEYS = ("storageUri", "args", "env")
MODEL_DIR = re.compile(r"--model[-_]dir(?:=(.*))?")
PINNED = re.compile(r"models:/[^/@]+/(\d+)")
ALIAS = re.compile(r"models:/[^/@]+@(.+)")
FOLLOW = "MILLRACE_FOLLOW"
PINNED_PACKAGE = "MILLRACE_PACKAGE_SHA256"
SAY = "say where versions lie: `storage` in plan.yaml, such as s3://models/{name}/{version}"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the versions of a model are for pods to load.

    Attributes:
        template: a storageUri with ``{name}`` and ``{version}``; None: as the stable one's, with
            another last part.
        champion: the version that ``@champion`` is now, for pods that follow it; None: unknown.
    """

    template: str | None = None
    champion: str | None = None

    def version(self, predictor: Manifest, runtime_args: Sequence[str] = ()) -> str:
        """The version that a predictor serves.

        Args:
            predictor: of an InferenceService.
            runtime_args: of its runtime's container, which the predictor's own come after.

        Raises:
            RolloutError: it cannot be told; says what would make it so.
        """
        uri = _model(predictor).get("storageUri")
        if uri:
            return self._of_uri(str(uri))
        place = _model_dir([*runtime_args, *_model(predictor).get("args", ())])
        if pinned := PINNED.fullmatch(place or ""):
            return pinned.group(1)
        if (alias := ALIAS.fullmatch(place or "")) and self.champion:
            if alias.group(1) == "champion":
                return self.champion
            raise RolloutError(f"its pods follow @{alias.group(1)}, and a rollout moves @champion")
        raise RolloutError(
            f"its pods load {place or 'a model from nowhere that is known'}, which says no "
            "version: give it a storageUri, or under model.args --model_dir=models:/NAME/VERSION"
        )

    def serves(self, predictor: Manifest, candidate: Version) -> bool:
        """Whether a predictor was made by ``serve`` for this candidate.

        Raises:
            RolloutError: that cannot be told of its storageUri; says what would make it so.
        """
        uri = _model(predictor).get("storageUri")
        if uri:
            return self._of_uri(str(uri)) == candidate.version
        pinned = PINNED.fullmatch(_model_dir(_model(predictor).get("args") or []) or "")
        return pinned is not None and pinned.group(1) == candidate.version

    def serve(self, predictor: Manifest, candidate: Version) -> None:
        """Change a predictor, in place, so that its pods load the candidate.

        Raises:
            RolloutError: where that would be is unknown; says what would make it so.
        """
        model = _model(predictor)
        _without(model, PINNED_PACKAGE)  # of the stable version, which the candidate is not
        if model.get("storageUri"):
            model["storageUri"] = self._uri(str(model["storageUri"]), candidate)
            return
        place = f"models:/{candidate.name}/{candidate.version}"
        model["args"] = [*_split_args(model.get("args", ()))[0], f"--model_dir={place}"]
        # Of one version there is nothing to follow, and the pod says so and ends.
        _without(model, FOLLOW)
        model["env"] = [*model.get("env", ()), {"name": FOLLOW, "value": "false"}]

    def _of_uri(self, uri: str) -> str:
        if self.template:
            pattern = re.escape(self.template).replace(r"\{name\}", "[^/]+")
            pattern = pattern.replace(r"\{version\}", r"(\d+)")
            if found := re.fullmatch(pattern, uri):
                return found.group(1)
        last = uri.rstrip("/").rsplit("/", 1)[-1]
        if last.isdigit():
            return last
        raise RolloutError(f"storageUri {uri} ends in no version's number; {SAY}")

    def _uri(self, stable: str, candidate: Version) -> str:
        if self.template:
            filled = self.template.replace("{name}", candidate.name)
            return filled.replace("{version}", candidate.version)
        before, _, last = stable.rstrip("/").rpartition("/")
        if not last.isdigit():
            raise RolloutError(f"storageUri {stable} ends in no version's number; {SAY}")
        return f"{before}/{candidate.version}"


def source_of(predictor: Manifest) -> Manifest:
    """What of the predictor says which version is served; a copy."""
    model = _model(predictor)
    return {key: copy.deepcopy(model[key]) for key in SOURCE_KEYS if key in model}


def put_source(predictor: Manifest, source: Manifest) -> None:
    """Change a predictor, in place, to serve what ``source`` was taken of.

    What others have changed of its arguments and its environment meanwhile stays.
    """
    model, source = _model(predictor), copy.deepcopy(source)
    model.pop("storageUri", None)
    if "storageUri" in source:
        model["storageUri"] = source["storageUri"]
    for key, split in (("args", _split_args), ("env", _split_env)):
        put, others = split(source.get(key) or ()), split(model.get(key) or ())[0]
        # In its old order where nobody changed it.
        value = source.get(key) if others == put[0] else [*others, *put[1]]
        model.pop(key, None)
        if value is not None:
            model[key] = value


def place_of(predictor: Manifest) -> str:
    """Where its pods load from, as it stands in what KServe makes of it."""
    model = _model(predictor)
    return str(model.get("storageUri") or _model_dir(model.get("args", ())) or "")


def loads(template: Manifest, predictor: Manifest) -> bool:
    """Whether what KServe made of a predictor (a pod's template, a revision) loads what it says."""
    place = place_of(predictor)
    written = (json.dumps(place), json.dumps(f"--model_dir={place}"))
    text = json.dumps(template)
    return any(each in text for each in written)


def _without(model: Manifest, variable: str) -> None:
    if "env" in model:
        model["env"] = [each for each in model["env"] if each["name"] != variable]


def _split_args(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without those that say where the model is, and those."""
    others: list[str] = []
    places: list[str] = []
    value_follows = False
    for each in args:
        found = None if value_follows else MODEL_DIR.fullmatch(each)
        (places if value_follows or found else others).append(each)
        value_follows = found is not None and found.group(1) is None
    return others, places


def _split_env(env: Sequence[Manifest]) -> tuple[list[Manifest], list[Manifest]]:
    """The variables without those that go with one version alone, and those."""
    others = [each for each in env if each["name"] not in (FOLLOW, PINNED_PACKAGE)]
    return others, [each for each in env if each not in others]


def _model_dir(args: Sequence[str]) -> str | None:
    # The last one holds, as the pod reads its flags.
    place = None
    for each, after in zip_longest(args, args[1:]):
        if found := MODEL_DIR.fullmatch(each):
            place = after if found.group(1) is None else found.group(1)
    return place


def _model(predictor: Manifest) -> Manifest:
    model = predictor.get("model")
    if not isinstance(model, dict):
        raise RolloutError(
            "its predictor has no `model`: a rollout needs one, as manifests/base has it"
        )
    return model
