"""The status of an InferenceService, after ``inference_service_status.go``."""

from __future__ import annotations

import copy
from typing import Any

from tests.kubernetes.conditions import condition, is_true
from tests.kubernetes.kserve_names import CONTAINER, KServe
from tests.kubernetes.workloads import is_ready

Object = dict[str, Any]


def raw_ready(deployment: Object, kserve: KServe) -> Object:
    """The condition PredictorReady by a Deployment's own, as ``PropagateRawStatus`` does."""
    found = {each["type"]: each for each in (deployment.get("status") or {}).get("conditions", ())}
    available, progressing = found.get("Available"), found.get("Progressing")
    ready = condition("PredictorReady", False if kserve.has_canary else None)
    if available:
        ready = _as(available, available["status"] == "True")
    # v0.15.2 looks no further: pods that do not come are none of its concern while old ones serve.
    if progressing and kserve.has_canary:
        if progressing["status"] == "False":
            ready = _as(progressing, False)
        elif progressing["reason"] == "NewReplicaSetAvailable":
            ready = _as(progressing, True)
        elif not available or available["status"] != "True":
            ready = _as(progressing, None)
    if available and available["status"] == "False":
        ready = _as(available, False)
    return ready


def _as(other: Object, status: bool | None) -> Object:
    return condition("PredictorReady", status, other.get("reason", ""), other.get("message", ""))


def knative_component(was: Object, service: Object) -> Object:
    """The component's status by a Knative Service's, as ``PropagateStatus`` does."""
    component = copy.deepcopy(was)
    status = service.get("status") or {}
    newest_ready = status.get("latestReadyRevisionName", "")
    created = status.get("latestCreatedRevisionName", "")
    component["latestCreatedRevision"] = created
    for target in status.get("traffic") or ():
        if target["revisionName"] == newest_ready and target.get("latestRevision"):
            whole = _share(status, newest_ready) == 100 and newest_ready == created
            _rolled_out(component, newest_ready, target.get("percent", 0), whole=whole)
    component["latestReadyRevision"] = newest_ready
    if is_true(status, "Ready"):
        for field in ("address", "url"):
            if field in status:
                component[field] = status[field]
    component["traffic"] = status.get("traffic") or []
    return {name: value for name, value in component.items() if value}


def _share(status: Object, revision: str) -> int:
    traffic = status.get("traffic") or ()
    return sum(each.get("percent", 0) for each in traffic if each["revisionName"] == revision)


def _rolled_out(component: Object, newest: str, percent: int, *, whole: bool) -> None:
    """Which revision has, and had, all requests; ``whole``: by all its targets together."""
    previous = component.get("previousRolledoutRevision", "")
    if component.get("latestRolledoutRevision", "") != newest:
        if percent == 100:
            component["previousRolledoutRevision"] = component.get("latestRolledoutRevision", "")
            component["latestRolledoutRevision"] = newest
    elif percent < 100 and whole and previous:
        # It had all, and is to give them back.
        component["latestRolledoutRevision"] = previous


def model_status(was: Object, pods: list[Object], *, ready: bool) -> Object:
    """How far the model has come in the predictor's pods, as ``PropagateModelStatus`` does."""
    found = copy.deepcopy(was)
    found.setdefault("copies", {"failedCopies": 0})
    found["copies"]["totalCopies"] = sum(map(is_ready, pods))
    if not pods:
        return _in_state(found, "Pending")
    failure = _failure(pods[0]["status"].get("initContainerStatuses"), "storage-initializer")
    if failure:
        return _in_state(found, "FailedToLoad", failure)
    if ready:
        return _in_state(found, "Loaded")
    failure = _failure(pods[0]["status"].get("containerStatuses"), CONTAINER)
    return _in_state(found, "FailedToLoad" if failure else "Pending", failure)


_TRANSITIONS = {
    "Pending": "InProgress",
    "Loading": "InProgress",
    "Loaded": "UpToDate",
    "FailedToLoad": "BlockedByFailedLoad",
}


def _in_state(found: Object, state: str, failure: Object | None = None) -> Object:
    states = found.setdefault("states", {"activeModelState": ""})
    states["targetModelState"] = state
    if state == "Loaded":
        states["activeModelState"] = state
    found["transitionStatus"] = _TRANSITIONS[state]
    if failure:
        found["lastFailureInfo"] = failure
    return found


def _failure(statuses: list[Object] | None, container: str) -> Object | None:
    for each in statuses or ():
        waiting = each["state"].get("waiting") or {}
        if each["name"] == container and waiting.get("reason") == "CrashLoopBackOff":
            ended = each["lastState"]["terminated"]
            return {
                "reason": "ModelLoadFailed",
                "message": ended["message"],
                "exitCode": ended["exitCode"],
            }
    return None


def invalid_spec(was: Object, reason: str, message: str) -> Object:
    """Of a model that no runtime takes."""
    found = copy.deepcopy(was)
    states = found.setdefault("states", {"activeModelState": ""})
    states["targetModelState"] = "FailedToLoad"
    found["transitionStatus"] = "InvalidSpec"
    found["lastFailureInfo"] = {"reason": reason, "message": message}
    return found
