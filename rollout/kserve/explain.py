"""What the Kubernetes API refused, as one line that says what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RolloutError,
    UnreachableError,
)
from rollout.kserve.resources import Resource

USER = re.compile(r'User "([^"]+)" cannot ')
ROLE = "manifests/components/pipeline-access has all that a rollout needs"
NOT_NOW = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked of the API.

    Attributes:
        verb: as Roles have it: get, list, create, patch, delete.
        resource: the kind of object.
        namespace: that it is in.
        name: of the object; None for all of them.
    """

    verb: str
    resource: Resource
    namespace: str
    name: str | None = None

    @property
    def what(self) -> str:
        """``InferenceService shop/classifier``."""
        return f"{self.resource.kind} {self.namespace}/{self.name or '*'}"


def refused(request: Request, code: int, message: str) -> RolloutError:
    """The error that an answer of the API means.

    Args:
        request: what was asked.
        code: HTTP's.
        message: of the ``Status`` that came back, or whatever came.
    """
    if code == 404:
        return NotFoundError(f"there is no {request.what}")
    if code == 409:
        return ConflictError(f"somebody else changed {request.what} meanwhile: {message}")
    if code == 401:
        return RolloutError(
            f"the cluster does not know these credentials ({message}): log in again, or look at "
            "the service account's token"
        )
    if code == 403 and " cannot " in message:
        return ForbiddenError(_missing(request, message))
    if code in NOT_NOW:
        return UnreachableError(f"the cluster cannot {request.verb} {request.what} now: {message}")
    # A webhook, a quota or a schema said no; each says of itself what it is and why.
    return RolloutError(f"the cluster refuses to {request.verb} {request.what}: {message}")


def lost(request: Request, error: Exception) -> UnreachableError:
    """The error that a connection which broke off, or never came about, means."""
    why = str(getattr(error, "reason", None) or error) or type(error).__name__
    # Whatever urllib3 knows of its own objects helps nobody.
    why = re.sub(r"<[^>]*> ?:? ?|^HTTPS?ConnectionPool\([^)]*\): ", "", why)
    return UnreachableError(
        f"no answer from the cluster to {request.verb} {request.what}: {why}; what was asked may "
        "have been done"
    )


def _missing(request: Request, message: str) -> str:
    found = USER.search(message)
    who = found.group(1) if found else "this user"
    resource = request.resource
    group = f"group {resource.group}" if resource.group else "the core group"
    rule = (
        f'{{apiGroups: ["{resource.group}"], resources: [{resource.plural}], '
        f"verbs: [{request.verb}]}}"
    )
    return (
        f"{who} may not {request.verb} {resource.plural} of {group} in namespace "
        f"{request.namespace}: add {rule} to its Role; {ROLE}"
    )
