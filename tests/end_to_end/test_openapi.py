"""The document at ``/openapi.json`` against the pod that serves it, by schemathesis."""

from __future__ import annotations

import httpx
import schemathesis

from predictor.protocol import openapi

CONFIG = {
    "seed": 1,
    "cache": {"enabled": False},
    "generation": {"max-examples": 20, "deterministic": True, "database": "none"},
    "phases": {
        "examples": {"checks": {"positive_data_acceptance": {"enabled": True}}},
    },
    "checks": {
        "positive_data_acceptance": {"enabled": False},
        "not_a_server_error": {"expected-statuses": ["2xx", "4xx", 501, 504]},
    },
}
SERVED = openapi.Served("colours", "1", top_k=3, max_images=256, repository_open=False)

described = schemathesis.openapi.from_dict(
    openapi.document(SERVED), config=schemathesis.Config.from_dict(CONFIG)
)

def test_served(pod):
    assert httpx.get(f"{pod.url}/openapi.json").json() == openapi.document(SERVED)


@described.parametrize()
def test_the_pod_does_what_its_document_says(case, pod):
    """Every operation."""
    case.call_and_validate(base_url=pod.url)
