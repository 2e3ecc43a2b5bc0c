"""Knative Serving: a Service's revisions, which become ready, and the shares of its traffic."""

from __future__ import annotations

import copy
from typing import Any

from tests.kubernetes.cluster import Cluster, now
from tests.kubernetes.conditions import all_of, condition, dated, is_true
from tests.kubernetes.kserve_names import REVISION_LABEL, KServe
from tests.kubernetes.workloads import Fate, Workloads, is_ready, owned_by

Object = dict[str, Any]
GROUP = "serving.knative.dev"
CONFIGURATION = f"{GROUP}/configuration"
GENERATION = f"{GROUP}/configurationGeneration"


class Knative:
    """Brings every Knative Service one step on."""

    def __init__(self, cluster: Cluster, kserve: KServe, workloads: Workloads) -> None:
        self._cluster, self._kserve, self._workloads = cluster, kserve, workloads

    def reconcile(self) -> None:
        """Revisions for new templates; readiness of revisions; traffic."""
        for service in self._cluster.list("Service", group=GROUP):
            self._service(service)

    def _service(self, service: Object) -> None:
        revisions = self._revisions(service)
        newest = revisions[-1] if revisions else None
        if newest is None or _template(newest) != _wanted(service):
            generation = _generation(newest) + 1 if newest else 1
            newest = self._cluster.create(_revision(service, generation))
            revisions.append(newest)
        routed = self._routed(service)
        revisions = [
            self._ready(each, scaled=each is revisions[-1] or each["metadata"]["name"] in routed)
            for each in revisions
        ]
        self._tell(service, revisions)

    def _revisions(self, service: Object) -> list[Object]:
        of = service["metadata"]
        found = self._cluster.list("Revision", of["namespace"], f"{CONFIGURATION}={of['name']}")
        return sorted(found, key=_generation)

    def _routed(self, service: Object) -> set[str]:
        traffic = (service.get("status") or {}).get("traffic") or ()
        return {target["revisionName"] for target in traffic}

    def _ready(self, revision: Object, *, scaled: bool) -> Object:
        """Its pods, and whether they take requests; without traffic none, and it is as it was."""
        name = revision["metadata"]["name"]
        template = {"metadata": revision["metadata"], "spec": _pods(revision["spec"])}
        template["metadata"] = {
            field: revision["metadata"].get(field) or {} for field in ("labels", "annotations")
        }
        labels = {REVISION_LABEL: name}
        pods = self._workloads.have(revision, template, labels, int(scaled), "deployment")
        was = revision.get("status") or {}
        ready: bool | None = is_true(was, "Ready")
        reason = message = ""
        if any(map(is_ready, pods)):
            ready = True
        elif not ready:
            fate = self._workloads.fate(template)
            ready, reason, message = _unready(fate)
        conditions = [
            condition("ContainerHealthy", ready, reason, message),
            condition("ResourcesAvailable", ready, reason, message),
            condition("Ready", ready, reason, message),
        ]
        status = {
            "observedGeneration": revision["metadata"]["generation"],
            "conditions": dated(conditions, was.get("conditions"), now()),
            "actualReplicas": len([pod for pod in pods if is_ready(pod)]),
        }
        return self._cluster.set_status(revision, status)

    def _tell(self, service: Object, revisions: list[Object]) -> None:
        was = service.get("status") or {}
        created = revisions[-1]["metadata"]["name"]
        ready = [each["metadata"]["name"] for each in revisions if is_true(each["status"], "Ready")]
        conditions = [_configurations(revisions[-1]), *self._routes(service, ready)]
        overall = all_of(conditions, ("ConfigurationsReady", "RoutesReady"))
        conditions.append(condition("Ready", overall, *_why(conditions)))
        status: Object = {
            "observedGeneration": service["metadata"]["generation"],
            "latestCreatedRevisionName": created,
            "conditions": dated(conditions, was.get("conditions"), now()),
        }
        if ready:
            status["latestReadyRevisionName"] = ready[-1]
            status["traffic"] = self._traffic(service, ready) or was.get("traffic") or []
            status["url"] = self._url(service)
            inside = "svc.cluster.local"
            of = service["metadata"]
            status["address"] = {"url": f"http://{of['name']}.{of['namespace']}.{inside}"}
        self._cluster.set_status(service, status)

    def _routes(self, service: Object, ready: list[str]) -> list[Object]:
        if not ready:
            return [condition("RoutesReady", None, "RevisionMissing")]
        missing = [
            target["revisionName"]
            for target in service["spec"].get("traffic") or ()
            if target.get("revisionName") and target["revisionName"] not in ready
        ]
        if missing:
            message = f'Revision "{missing[0]}" referenced in traffic not found.'
            return [condition("RoutesReady", False, "RevisionMissing", message)]
        return [condition("RoutesReady", True)]

    def _traffic(self, service: Object, ready: list[str]) -> list[Object]:
        found = []
        for target in service["spec"].get("traffic") or [{"latestRevision": True, "percent": 100}]:
            name = target.get("revisionName") or ready[-1]
            if name not in ready:
                return []
            entry = {
                "latestRevision": not target.get("revisionName"),
                "revisionName": name,
                "percent": target.get("percent", 0),
            }
            if target.get("tag"):
                entry |= {"tag": target["tag"], "url": self._url(service, target["tag"])}
            found.append(entry)
        return found

    def _url(self, service: Object, tag: str = "") -> str:
        of = service["metadata"]
        name = f"{tag}-{of['name']}" if tag else of["name"]
        return f"http://{name}.{of['namespace']}.{self._kserve.domain}"


def _wanted(service: Object) -> Object:
    template = service["spec"]["template"]
    metadata = template.get("metadata") or {}
    return {
        "labels": metadata.get("labels") or {},
        "annotations": metadata.get("annotations") or {},
        "spec": template["spec"],
    }


def _template(revision: Object) -> Object:
    metadata = revision["metadata"]
    own = (CONFIGURATION, GENERATION, f"{GROUP}/service")
    labels = {name: each for name, each in metadata["labels"].items() if name not in own}
    annotations = metadata.get("annotations") or {}
    return {"labels": labels, "annotations": annotations, "spec": revision["spec"]}


def _generation(revision: Object) -> int:
    return int(revision["metadata"]["labels"][GENERATION])


def _revision(service: Object, generation: int) -> Object:
    of, wanted = service["metadata"], copy.deepcopy(_wanted(service))
    own = {
        CONFIGURATION: of["name"],
        GENERATION: str(generation),
        f"{GROUP}/service": of["name"],
    }
    metadata = {
        "name": f"{of['name']}-{generation:05d}",
        "namespace": of["namespace"],
        "labels": {**wanted["labels"], **own},
        "annotations": wanted["annotations"],
        "ownerReferences": owned_by(service),
    }
    kind = {"apiVersion": f"{GROUP}/v1", "kind": "Revision"}
    return {**kind, "metadata": metadata, "spec": wanted["spec"]}


def _pods(spec: Object) -> Object:
    own = ("containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds")
    return {name: each for name, each in spec.items() if name not in own}


def _unready(fate: Fate) -> tuple[bool | None, str, str]:
    if fate is Fate.CRASHING:
        return False, "ExitCode1", "Container failed with: no such model"
    if fate is Fate.NO_IMAGE:
        return False, "ContainerMissing", "Unable to fetch image: not found"
    if fate in (Fate.TIMED_OUT, Fate.NO_MODEL):
        return False, "ProgressDeadlineExceeded", "Initial scale was never achieved"
    return None, "Deploying", ""


def _configurations(newest: Object) -> Object:
    found = {each["type"]: each for each in newest["status"]["conditions"]}["Ready"]
    name = newest["metadata"]["name"]
    if found["status"] == "True":
        return condition("ConfigurationsReady", True)
    if found["status"] == "Unknown":
        return condition("ConfigurationsReady", None)
    message = f'Revision "{name}" failed with message: {found.get("message", "")}.'
    return condition("ConfigurationsReady", False, "RevisionFailed", message)


def _why(conditions: list[Object]) -> tuple[str, str]:
    for each in conditions:
        if each["status"] != "True":
            return each.get("reason", ""), each.get("message", "")
    return "", ""
