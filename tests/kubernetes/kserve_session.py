"""What KServe's own client does with an InferenceService, told as JSON; a process of its own.

Importing kserve takes the command line's arguments as its own, and sets up logging for all.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    """Create, wait, give the canary a share, and remove; by the kubeconfig that is named."""
    kubeconfig = sys.argv.pop()
    import kserve
    from kubernetes.client import V1ObjectMeta

    def service(**predictor: Any) -> kserve.V1beta1InferenceService:
        model = kserve.V1beta1ModelSpec(
            model_format=kserve.V1beta1ModelFormat(name="millrace"),
            storage_uri="pvc://models/shop/1",
        )
        spec = kserve.V1beta1PredictorSpec(model=model, **predictor)
        return kserve.V1beta1InferenceService(
            api_version="serving.kserve.io/v1beta1",
            kind="InferenceService",
            metadata=V1ObjectMeta(name="shop", namespace="default"),
            spec=kserve.V1beta1InferenceServiceSpec(predictor=spec),
        )

    client = kserve.KServeClient(config_file=kubeconfig)
    client.create(service())
    client.wait_isvc_ready("shop", namespace="default", timeout_seconds=60, polling_interval=1)
    ready = client.get("shop", namespace="default")
    patched = client.patch("shop", service(canary_traffic_percent=10), namespace="default")
    try:
        client.create(service(min_replicas="one"))
        refused = ""
    except RuntimeError as error:
        refused = str(error)
    client.delete("shop", namespace="default")
    told = {
        "url": ready["status"]["url"],
        "percent": patched["spec"]["predictor"]["canaryTrafficPercent"],
        "refused": refused,
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
