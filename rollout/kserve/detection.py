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
    """``Standard``, ``Knative``, another of KServe's; None where nothing says it.

    KServe before 0.15.1 writes no mode into the status, and none into the annotation if it is the
    default, Knative; but then there are revisions.
    """
    annotations = service["metadata"].get("annotations") or {}
    status = service.get("status") or {}
    said = status.get("deploymentMode") or annotations.get(MODE)
    predictor = (status.get("components") or {}).get("predictor") or {}
    if not said and predictor.get("latestCreatedRevision"):
        return KNATIVE
    return FORMER.get(said, said) if said else None


def takes_canary(site: Site, service: Manifest) -> bool:
    """Whether this InferenceService may have ``spec.canary``.

    The schema knows the field from 0.20 on, which the API server says when it is asked to merge
    one, in vain. KServe's webhook goes by the annotation's very word, which it corrects on that
    way.
    """
    # Whoever reads a CRD needs a right on the whole cluster; this takes none that a rollout lacks.
    patch = {"spec": {"canary": service["spec"].get("canary") or []}}
    try:
        taken = site.cluster.patch(INFERENCE_SERVICE, site.name, patch, dry_run=True)
    except ForbiddenError:
        raise
    except RolloutError as error:
        if 'unknown field "spec.canary"' in str(error):
            return False
        raise
    return (taken["metadata"].get("annotations") or {}).get(MODE) == STANDARD
