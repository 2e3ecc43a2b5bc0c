"""What a rollout refuses; each is one line that says what to do."""

from __future__ import annotations


class RolloutError(Exception):
    """The rollout cannot go on, and nothing was changed by trying."""


class UnreachableError(RolloutError):
    """A cluster, a pod or Prometheus does not answer now; trying again may help."""


class UnfinishedError(UnreachableError):
    """What was ordered has begun and is not through yet: give the same order again, later."""


class ForbiddenError(RolloutError):
    """The cluster does not allow it; says which verb on which resource is missing."""


class NotFoundError(RolloutError):
    """There is no such thing; says what there is, where that can be seen."""


class ConflictError(RolloutError):
    """Somebody else wrote meanwhile: read again, and decide again."""


class BusyError(RolloutError):
    """Another rollout of this model is under way; says which, whose, and since when."""


class PlanError(RolloutError):
    """plan.yaml is not what it must be; names the line or the field."""
