"""What kind of InferenceService it is, by what the cluster says and takes."""

from __future__ import annotations

from rollout.errors import ForbiddenError, RolloutError
from rollout.kserve.resources import INFERENCE_SERVICE, Manifest
from rollout.kserve.site import Site

MODE = "serving.kserve.io/deploymentMode"
STANDARD, KNATIVE = "Standard", "Knative"
# As KServe called them before 0.16.
FORMER = {"RawDeployment": STANDARD, "Serverless": KNATIVE}


def deployment_mode(service: Manifest) -> str | None:
    """``Standard``, ``Knative``, another of KServe's; None while KServe has not seen it yet."""
    annotations = service["metadata"].get("annotations") or {}
    said = (service.get("status") or {}).get("deploymentMode") or annotations.get(MODE)
    return FORMER.get(said, said) if said else None


def takes_canary(site: Site, service: Manifest) -> bool:
    """Whether this InferenceService may have ``spec.canary``.

    KServe's webhook goes by the annotation's very word, and the schema knows the field from 0.20
    on, which the API server says when it is asked to merge one, in vain.
    """
    annotations = service["metadata"].get("annotations") or {}
    if annotations.get(MODE) != STANDARD:
        return False
    # Whoever reads a CRD needs a right on the whole cluster; this takes none that a rollout lacks.
    canary = service["spec"].get("canary") or []
    try:
        site.cluster.patch(INFERENCE_SERVICE, site.name, {"spec": {"canary": canary}}, dry_run=True)
    except ForbiddenError:
        raise
    except RolloutError as error:
        if 'unknown field "spec.canary"' in str(error):
            return False
        raise
    return True
