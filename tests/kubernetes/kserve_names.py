"""What KServe calls things, by version; from its ``pkg/constants`` at v0.15.2 and v0.20.0."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Object = dict[str, Any]

API = "serving.kserve.io/v1beta1"
ISVC_LABEL = "serving.kserve.io/inferenceservice"
COMPONENT_LABEL = "component"
REVISION_LABEL = "serving.knative.dev/revision"
MODE = "serving.kserve.io/deploymentMode"
AUTOSCALER = "serving.kserve.io/autoscalerClass"
TAGS = "serving.kserve.io/enable-tag-routing"
STORAGE_URI = "internal.serving.kserve.io/storage-initializer-sourceuri"
FINALIZER = "inferenceservice.finalizers"
CONTAINER = "kserve-container"
DOMAIN = "example.com"
# Annotations that do not go on to Deployments, Services, revisions and pods.
KEPT_BACK = (
    "autoscaling.knative.dev/min-scale",
    "autoscaling.knative.dev/max-scale",
    "kubectl.kubernetes.io/last-applied-configuration",
    "modelFormat",
    STORAGE_URI,
)


class Mode(StrEnum):
    """How an InferenceService is deployed, in the words of v0.16 and later."""

    STANDARD = "Standard"
    KNATIVE = "Knative"


OLD_WORDS = {"RawDeployment": Mode.STANDARD, "Serverless": Mode.KNATIVE}


@dataclass(frozen=True, slots=True)
class KServe:
    """Which KServe the cluster has, and how it is set up.

    Attributes:
        version: ``0.15.2`` or ``0.20.0``: its CRDs are there.
        default_mode: of InferenceServices that name none.
        weighs_canaries: as after v0.20.0: its HTTPRoutes share requests out to ready canaries.
        gateway_api: HTTPRoutes are made; without it no ingress that this fake knows.
        domain: of all hosts.
    """

    version: str = "0.20.0"
    default_mode: Mode = Mode.STANDARD
    weighs_canaries: bool = False
    gateway_api: bool = True
    domain: str = DOMAIN

    @property
    def has_canary(self) -> bool:
        """Whether there is ``spec.canary`` and ``predictor.name``."""
        return tuple(map(int, self.version.split("."))) >= (0, 20)

    def word(self, mode: Mode) -> str:
        """What this version calls the mode."""
        if self.has_canary:
            return mode.value
        return next(old for old, new in OLD_WORDS.items() if new is mode)


def mode_of(word: str) -> Mode:
    """The mode by its old or new name."""
    return OLD_WORDS.get(word) or Mode(word)


def predictor_name(isvc: str, predictor: str = "") -> str:
    """Of Deployment, Service and HTTPRoute: ``NAME-predictor``, ``NAME-VARIANT-predictor``."""
    return f"{isvc}-{predictor}-predictor" if predictor else f"{isvc}-predictor"


def host(name: str, namespace: str, kserve: KServe) -> str:
    """By ``domainTemplate`` ``{{ .Name }}-{{ .Namespace }}.{{ .IngressDomain }}``."""
    return f"{name}-{namespace}.{kserve.domain}"


def passed_on(annotations: Object | None) -> Object:
    """Those that go on to what is made of an InferenceService: all but a few."""
    found = annotations or {}
    return {name: value for name, value in found.items() if name not in KEPT_BACK}
