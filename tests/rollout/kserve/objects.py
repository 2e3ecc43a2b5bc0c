"""The objects of a namespace with one model on KServe, as manifests/base has them."""

from __future__ import annotations

from typing import Any

from rollout.types import Version

NAMESPACE, NAME, HOST = "shop", "classifier", "classifier.example.com"
STABLE = Version(NAME, "3", f"models:/{NAME}/3")
CANDIDATE = Version(NAME, "4", f"models:/{NAME}/4")
STORAGE = f"s3://models/{NAME}"
Object = dict[str, Any]


def service(*, mode: str = "Standard", **predictor: Any) -> Object:
    """The InferenceService; version 3 is served, by two pods."""
    model = {
        "modelFormat": {"name": "millrace", "version": "1"},
        "runtime": "millrace",
        "protocolVersion": "v2",
        "storageUri": f"{STORAGE}/3",
        "env": [{"name": "MILLRACE_LOG_LEVEL", "value": "info"}],
        "resources": {"limits": {"cpu": "8", "memory": "8Gi"}},
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/name": "millrace"},
            "annotations": {"serving.kserve.io/deploymentMode": mode},
        },
        "spec": {
            "predictor": {
                "minReplicas": 2,
                "serviceAccountName": "millrace-predictor",
                "tolerations": [{"key": "millrace", "operator": "Exists", "effect": "NoSchedule"}],
                "securityContext": {"runAsNonRoot": True},
                "model": model,
                **predictor,
            }
        },
    }


def from_registry(*, model_dir: str, **predictor: Any) -> Object:
    """The same where pods load from the registry, by an argument of the runtime or of their own."""
    thing = service(**predictor)
    model = thing["spec"]["predictor"]["model"]
    del model["storageUri"]
    if model_dir:
        model["args"] = ["--frontends=2", f"--model_dir={model_dir}"]
    return thing


def runtime(*args: str) -> Object:
    """The ServingRuntime."""
    container = {
        "name": "kserve-container",
        "image": "millrace:0.1.0",
        "args": ["--model_name={{.Name}}", *args],
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "millrace", "namespace": NAMESPACE},
        "spec": {"containers": [container], "supportedModelFormats": [{"name": "millrace"}]},
    }


def public_route(*backends: Object, host: str = HOST, name: str = f"{NAME}-split") -> Object:
    """The route by which clients come, as manifests/components/canary has it."""
    backends = backends or ({"name": f"{NAME}-predictor", "port": 80},)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "hostnames": [host],
            "parentRefs": [{"name": "kserve-ingress-gateway", "namespace": "kserve"}],
            "rules": [{"backendRefs": list(backends), "timeouts": {"request": "30s"}}],
        },
    }
