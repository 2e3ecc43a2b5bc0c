"""Rolling out on a cluster: an InferenceService of KServe, in each of its modes.

    connect(name, namespace=…) → (Place, Ledger)
    open_ledger(name, namespace=…) → Ledger

Nothing here is imported by the rest of the rollout; the Kubernetes client comes in with the first
connection.
"""

from rollout.kserve.connect import Options, connect, open_ledger, prometheus_address

__all__ = ["Options", "connect", "open_ledger", "prometheus_address"]
