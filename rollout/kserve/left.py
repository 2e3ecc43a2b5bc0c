"""The candidate that an InferenceService remembers, whatever has become of its rollout's state."""

from __future__ import annotations

import json
import re

from rollout.kserve.before import Memory
from rollout.kserve.cluster import Cluster
from rollout.kserve.connect import Options
from rollout.kserve.login import login
from rollout.kserve.resources import INFERENCE_SERVICE
from rollout.types import Version


def left_candidate(
    name: str, namespace: str | None = None, options: Options | None = None
) -> Version | None:
    """Whose rollout has begun and has not ended; None if there is none.

    Args:
        name: of the InferenceService.
        namespace: as ``connect`` has it.
        options: ``context`` and ``kubeconfig`` count.

    Raises:
        RolloutError: the cluster does not say.
    """
    options = options or Options()
    client, own = login(options.context, options.kubeconfig)
    cluster = Cluster(client, namespace or own)
    before = Memory(cluster, name).read()
    if before is None:
        return None
    number = before.candidate
    # By what its pods load, where that is the registry's; elsewhere the name is nobody's business.
    service = json.dumps(cluster.find(INFERENCE_SERVICE, name))
    found = re.search(rf'models:/([^/@"]+)/{re.escape(number)}"', service)
    model = found.group(1) if found else name
    return Version(model, number, f"models:/{model}/{number}")
