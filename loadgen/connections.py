"""Whether a closed loop has a connection for each of its lanes."""

from __future__ import annotations

import resource

from loadgen.errors import LoadError
from loadgen.plan import Closed, Load, Plan

OTHER_FILES = 64  # that a process has open besides its connections


def require_connections(plan: Plan, load: Load) -> None:
    """A lane of a closed loop that waits for a connection would be timed as if it did not.

    Raises:
        LoadError: there may be fewer than lanes.
    """
    if not isinstance(load, Closed) or plan.protocol == "grpc":  # a channel carries any number
        return
    lanes = -(-load.concurrency // max(plan.processes, 1))
    if 0 < plan.connections < lanes:
        raise LoadError(
            f"{load} needs {lanes} connections for each endpoint and process, not "
            f"{plan.connections}: give it so many --connections, or leave their number open"
        )
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if lanes * len(plan.endpoints) + OTHER_FILES > files != resource.RLIM_INFINITY:
        raise LoadError(
            f"{load} needs {lanes} connections to each of {len(plan.endpoints)} endpoint(s), and a "
            f"process may have {files} files open: share it out with --processes, or raise the "
            "limit (ulimit -Hn)"
        )
