"""The kinds of objects that a rollout touches, and where the Kubernetes API has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# An object of the Kubernetes API as its JSON has it; what is in it is that API's affair.
Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object.

    Attributes:
        group: of the API; empty for Kubernetes' own first one.
        version: of the group.
        plural: as paths and Roles have it.
        kind: as objects have it.
    """

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """As objects have it, ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str | None = None) -> str:
        """Of one object, or of all in the namespace."""
        root = f"/apis/{self.group}" if self.group else "/api"
        of_all = f"{root}/{self.version}/namespaces/{namespace}/{self.plural}"
        return of_all if name is None else f"{of_all}/{name}"


INFERENCE_SERVICE = Resource(
    "serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService"
)
SERVING_RUNTIME = Resource("serving.kserve.io", "v1alpha1", "servingruntimes", "ServingRuntime")
REVISION = Resource("serving.knative.dev", "v1", "revisions", "Revision")
HTTP_ROUTE = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
GRPC_ROUTE = Resource("gateway.networking.k8s.io", "v1", "grpcroutes", "GRPCRoute")
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
POD = Resource("", "v1", "pods", "Pod")
SERVICE = Resource("", "v1", "services", "Service")
