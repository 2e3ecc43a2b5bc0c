"""KServe's admission of InferenceServices, after ``pkg/apis/serving/v1beta1``.

Of the validation, what an InferenceService with ``predictor.model`` or ``containers`` can meet.
"""

from __future__ import annotations

import re
from typing import Any

from tests.kubernetes import refusals, writing
from tests.kubernetes.kserve_names import MODE, OLD_WORDS, KServe, Mode, mode_of
from tests.kubernetes.writing import Admission

Object = dict[str, Any]
DEFAULTER = "inferenceservice.kserve-webhook-server.defaulter"
VALIDATOR = "inferenceservice.kserve-webhook-server.validator"
NAME = "[a-z]([-a-z0-9]*[a-z0-9])?"
FRAMEWORKS = (
    "sklearn",
    "xgboost",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
    "model",
)
IMPLEMENTATIONS = (
    "Name, SKLearn, XGBoost, Tensorflow, PyTorch, Triton, ONNX, HuggingFace, PMML, LightGBM,"
    " Paddle, Model, StorageUris, StorageContainerName, WorkerSpec, PodSpec"
)


class _Invalid(Exception):  # noqa: N818 - it becomes a RefusedError, and is never seen
    """Why the webhook refuses."""


class Webhook:
    """Fills in defaults, and refuses what KServe does."""

    def __init__(self, kserve: KServe) -> None:
        self._kserve = kserve

    def default(self, admission: Admission) -> None:
        """Mode and format as annotations; what Go cannot read goes no further."""
        if admission.resource.kind != "InferenceService":
            return
        isvc = admission.after
        # To Go, null is a field that is not there.
        wrong = [each for each in writing.mistyped(admission.resource, isvc) if '"' in each.message]
        if wrong:
            why = writing.unmarshalling(admission.resource, wrong[0])
            raise refusals.denied(DEFAULTER, why, 400, "BadRequest")
        self._default(isvc)

    def validate(self, admission: Admission) -> None:
        """Refuse what KServe does.

        Raises:
            RefusedError: in its words.
        """
        isvc = admission.after
        if admission.resource.kind != "InferenceService":
            return
        if isvc["metadata"].get("deletionTimestamp"):
            return
        try:
            if admission.before:
                _unchanging(admission.before, isvc, self._kserve)
            _validate(isvc)
        except _Invalid as invalid:
            raise refusals.denied(VALIDATOR, str(invalid)) from None

    def _default(self, isvc: Object) -> None:
        annotations = isvc["metadata"].get("annotations") or {}
        isvc["metadata"]["annotations"] = annotations
        mode = annotations.get(MODE)
        if self._kserve.has_canary and mode in OLD_WORDS:
            annotations[MODE] = OLD_WORDS[mode].value
        if mode is None and self._kserve.default_mode is Mode.STANDARD:
            annotations[MODE] = self._kserve.word(Mode.STANDARD)
        model = ((isvc.get("spec") or {}).get("predictor") or {}).get("model") or {}
        name = (model.get("modelFormat") or {}).get("name")
        if name and self._kserve.has_canary:
            annotations.setdefault("modelFormat", name)
        if not annotations:
            del isvc["metadata"]["annotations"]


def _unchanging(before: Object, after: Object, kserve: KServe) -> None:
    was = (before.get("status") or {}).get("deploymentMode")
    wanted = (after["metadata"].get("annotations") or {}).get(MODE)
    if was and wanted and wanted != kserve.word(mode_of(was)):
        raise _Invalid(
            f"update rejected: deploymentMode cannot be changed from '{was}' to '{wanted}'"
        )
    old, new = before["spec"]["predictor"], after["spec"]["predictor"]
    if old.get("name") != new.get("name") and _uri(old) == _uri(new):
        raise _Invalid("predictor.name change requires a model change (e.g. storageUri)")


def _uri(predictor: Object) -> str:
    for framework in reversed(FRAMEWORKS):
        if framework in predictor:
            return str(predictor[framework].get("storageUri") or "")
    return ""


def _validate(isvc: Object) -> None:
    name, predictor = isvc["metadata"]["name"], isvc["spec"]["predictor"]
    if not re.fullmatch(NAME, name):
        raise _Invalid(
            f'the InferenceService "{name}" is invalid: a InferenceService name must consist of'
            " lower case alphanumeric characters or '-', and must start with alphabetical"
            f' character. (e.g. "my-name" or "abc-123", regex used for validation is \'{NAME}\')'
        )
    for framework in FRAMEWORKS:
        if (predictor.get(framework) or {}).get("name"):
            raise _Invalid("the 'name' field is not allowed in standard predictor")
    _one_implementation(predictor)
    _replicas(predictor)
    _canaries(isvc)


def _one_implementation(predictor: Object) -> None:
    found = [framework for framework in FRAMEWORKS if framework in predictor]
    # Containers beside a model are a transformer's, or others'.
    if len(found) > 1 or not (found or predictor.get("containers")):
        raise _Invalid(f"exactly one of [{IMPLEMENTATIONS}] must be specified in PredictorSpec")


def _replicas(predictor: Object) -> None:
    least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 0)
    if least < 0:
        raise _Invalid("'MinReplicas' cannot be less than 0")
    if most < 0:
        raise _Invalid("'MaxReplicas' cannot be less than 0")
    if least > most != 0:
        raise _Invalid("'MinReplicas' cannot be greater than MaxReplicas")


def _canaries(isvc: Object) -> None:
    canaries = isvc["spec"].get("canary") or []
    if not canaries:
        return
    stable = isvc["spec"]["predictor"]
    if (isvc["metadata"].get("annotations") or {}).get(MODE) != Mode.STANDARD:
        raise _Invalid(f"canary is only supported in {Mode.STANDARD} deployment mode")
    if not _uri(stable) and "model" not in stable:
        raise _Invalid(
            "canary requires a stable predictor with a model (multi-model serving is not supported"
            " with canary)"
        )
    seen: set[str] = set()
    for index, canary in enumerate(canaries):
        _canary(index, canary, stable, seen)
    total = sum(canary.get("trafficPercent", 0) for canary in canaries)
    if total > 100:
        raise _Invalid(f"sum of canary trafficPercent values ({total}) must be <= 100")


def _canary(index: int, canary: Object, stable: Object, seen: set[str]) -> None:
    predictor = canary["predictor"]
    name = predictor.get("name") or ""
    if not name:
        raise _Invalid(f"canary[{index}] predictor.name is required")
    if name in seen:
        raise _Invalid(f'canary predictor.name "{name}" is duplicated')
    seen.add(name)
    if name == stable.get("name"):
        raise _Invalid(f'canary predictor.name "{name}" conflicts with stable predictor name')
    percent = canary.get("trafficPercent", 0)
    if not 0 <= percent <= 100:
        raise _Invalid(f'canary "{name}" trafficPercent must be between 0 and 100, got {percent}')
    try:
        _one_implementation(predictor)
        _replicas(predictor)
    except _Invalid as invalid:
        raise _Invalid(f'canary "{name}" predictor: {invalid}') from None
    for field in ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
        if predictor.get(field):
            raise _Invalid(f'canary "{name}" must not set {field} (canary uses fixed replicas)')
    least = stable.get("minReplicas", 1)
    if predictor.get("minReplicas", 0) > least:
        raise _Invalid(
            f'canary "{name}" minReplicas ({predictor["minReplicas"]}) must not exceed stable'
            f" predictor minReplicas ({least})"
        )
