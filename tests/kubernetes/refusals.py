"""What an API server answers instead of an object: ``Status`` bodies, worded as the real one's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.kubernetes.resources import Resource

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an object.

    Attributes:
        field: where, ``spec.predictor.minReplicas``.
        reason: the API's word for it, ``FieldValueInvalid``.
        message: as it follows the field, ``Invalid value: …``.
    """

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class RefusedError(Exception):
    """A request is answered by a ``Status`` of failure.

    Attributes:
        code: the HTTP status.
        body: the ``Status``.
        retry_after_s: of the header, or None.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Object | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.retry_after_s = code, retry_after_s
        self.body: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
        }
        if reason:
            self.body["reason"] = reason
        if details:
            self.body["details"] = details
        self.body["code"] = code


def _details(resource: Resource, name: str, **more: Any) -> Object:
    details: Object = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    return {**details, "kind": resource.plural, **more}


def _subject(resource: Resource, name: str) -> str:
    return f'{resource.qualified} "{name}"'


def not_found(resource: Resource, name: str) -> RefusedError:
    """404: there is no such object."""
    message = f"{_subject(resource, name)} not found"
    return RefusedError(404, "NotFound", message, _details(resource, name))


def no_such_path() -> RefusedError:
    """404 of what no group serves."""
    return RefusedError(404, "NotFound", "the server could not find the requested resource", {})


def exists(resource: Resource, name: str) -> RefusedError:
    """409: another has that name."""
    message = f"{_subject(resource, name)} already exists"
    return RefusedError(409, "AlreadyExists", message, _details(resource, name))


def outdated(resource: Resource, name: str) -> RefusedError:
    """409: it was written since it was read."""
    message = (
        f"Operation cannot be fulfilled on {_subject(resource, name)}: the object has been"
        " modified; please apply your changes to the latest version and try again"
    )
    return RefusedError(409, "Conflict", message, _details(resource, name))


def precondition(resource: Resource, name: str, what: str, wanted: str, found: str) -> RefusedError:
    """409: it is not the object, or the version of it, that was meant."""
    message = (
        f"Operation cannot be fulfilled on {_subject(resource, name)}: Precondition failed:"
        f" {what} in precondition: {wanted}, {what} in object meta: {found}"
    )
    return RefusedError(409, "Conflict", message, _details(resource, name))


def owned_by_others(conflicts: Sequence[tuple[str, str]]) -> RefusedError:
    """409 of a server-side apply: ``conflicts`` are managers as shown, and fields."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": field}
        for manager, field in conflicts
    ]
    if len(conflicts) == 1:
        manager, field = conflicts[0]
        message = f"Apply failed with 1 conflict: conflict with {manager}: {field}"
    else:
        lines: list[str] = []
        for manager in dict.fromkeys(manager for manager, _ in conflicts):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {field}" for each, field in conflicts if each == manager]
        message = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
    return RefusedError(409, "Conflict", message, {"causes": causes})


def invalid(resource: Resource, name: str, problems: Sequence[Problem]) -> RefusedError:
    """422: the object is none that its schema allows."""
    told = ", ".join(str(problem) for problem in problems)
    if len(problems) > 1:
        told = f"[{told}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    causes = [
        {"reason": problem.reason, "message": problem.message, "field": problem.field}
        for problem in problems
    ]
    details = _details(resource, name, causes=causes) | {"kind": resource.kind}
    return RefusedError(422, "Invalid", f'{kind} "{name}" is invalid: {told}', details)


def undecodable(resource: Resource, why: str) -> RefusedError:
    """400: the body cannot be read as that kind, or has fields it must not have."""
    kind = resource.kind
    message = f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {why}'
    return RefusedError(400, "BadRequest", message)


def bad_request(why: str) -> RefusedError:
    """400."""
    return RefusedError(400, "BadRequest", why)


def denied(webhook: str, why: str, code: int = 403, reason: str = "Forbidden") -> RefusedError:
    """What a webhook refuses, as controller-runtime words it."""
    message = f'admission webhook "{webhook}" denied the request: {why}'
    return RefusedError(code, reason, message)


def forbidden(resource: Resource, name: str, user: str, what: str) -> RefusedError:
    """403: ``what`` the ``user`` may not do, in the API's words."""
    subject = _subject(resource, name) if name else resource.qualified
    message = f'{subject} is forbidden: User "{user}" cannot {what}'
    return RefusedError(403, "Forbidden", message, _details(resource, name))


def unauthorized() -> RefusedError:
    """401: nobody that the server knows."""
    return RefusedError(401, "Unauthorized", "Unauthorized")


def unsupported_patch(content_type: str) -> RefusedError:
    """415: no kind of patch that this resource takes."""
    message = (
        "the body of the request was in an unknown format - accepted media types include:"
        f" application/json-patch+json, application/merge-patch+json, not {content_type}"
    )
    return RefusedError(415, "UnsupportedMediaType", message)


def method_not_allowed() -> RefusedError:
    """405."""
    message = "the server does not allow this method on the requested resource"
    return RefusedError(405, "MethodNotAllowed", message, {})


def expired(asked: int, oldest: int) -> RefusedError:
    """410: the changes since then are no longer known."""
    return RefusedError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def too_many(retry_after_s: int) -> RefusedError:
    """429 of an API server that has enough to do."""
    message = "Too many requests, please try again later."
    details = {"retryAfterSeconds": retry_after_s}
    return RefusedError(429, "TooManyRequests", message, details, retry_after_s)
