"""Rolling out on a cluster: an InferenceService of KServe, in each of its modes.

    connect(name, namespace=…) → (Place, Ledger)

Nothing here is imported by the rest of the rollout; the Kubernetes client comes in with the first
connection.
"""

from rollout.kserve.connect import Options, connect, prometheus_address

__all__ = ["Options", "connect", "prometheus_address"]
