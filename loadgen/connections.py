"""Whether a closed loop has a connection for each of its lanes."""

from __future__ import annotations

import resource
from collections.abc import Sequence

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
    require_files([lanes] * len(plan.endpoints))


def require_files(connections: Sequence[int]) -> None:
    """A connection is an open file, of which a process has only so many.

    Args:
        connections: of one process, to each endpoint there is; a name may come to stand for more.

    Raises:
        LoadError: there may not be so many.
    """
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if sum(connections) + OTHER_FILES > files != resource.RLIM_INFINITY:
        raise LoadError(
            f"{sum(connections)} connections are needed, {max(connections)} to each of "
            f"{len(connections)} endpoint(s), and a process may have {files} files open: share "
            "them out with --processes, or raise the limit (ulimit -Hn)"
        )
