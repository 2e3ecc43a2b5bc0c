"""From what a client sends to what is kept: read, pruned, defaulted, checked, and let in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.kubernetes import naming, ownership, refusals, structural
from tests.kubernetes.ownership import Manager
from tests.kubernetes.refusals import Object, Problem
from tests.kubernetes.resources import Resource
from tests.kubernetes.store import copied

# Of metadata, what the API server sets and no client does.
SERVERS = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
    "selfLink",
)


@dataclass(slots=True)
class Options:
    """How a write is meant.

    Attributes:
        manager: who writes.
        dry_run: everything but the keeping.
        strictness: of unknown fields: Strict refuses, Warn tells, Ignore drops.
        force: a server-side apply takes fields from others.
        warnings: what the answer's headers will tell; filled.
    """

    manager: Manager
    dry_run: bool = False
    strictness: str = "Warn"
    force: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Admission:
    """A write that a webhook is asked about; it may change ``after``, or raise a RefusedError."""

    verb: str
    resource: Resource
    before: Object | None
    after: Object


Webhook = Callable[[Admission], None]


def decoded(resource: Resource, body: Any, options: Options) -> Object:
    """The object that ``body`` is, without what no schema knows.

    Raises:
        RefusedError: 400, it is none of this kind.
    """
    if not isinstance(body, dict):
        raise refusals.undecodable(resource, "json: cannot unmarshal the body into an object")
    thing: Object = copied(body)
    _of_kind(resource, thing)
    if not isinstance(thing.setdefault("metadata", {}), dict):
        raise refusals.undecodable(resource, "json: cannot unmarshal metadata into an object")
    unknown = list(structural.prune(thing, resource.schema))
    told = [f'unknown field "{path}"' for path in unknown]
    if told and options.strictness == "Strict":
        raise refusals.undecodable(resource, f"strict decoding error: {', '.join(told)}")
    if options.strictness == "Warn":
        options.warnings.extend(told)
    return thing


def _of_kind(resource: Resource, thing: Object) -> None:
    version, kind = thing.get("apiVersion"), thing.get("kind")
    if resource.custom and not kind:
        raise refusals.bad_request("Object 'Kind' is missing in the body of the request")
    if version and version != resource.api_version:
        raise refusals.bad_request(
            f"the API version in the data ({version}) does not match the expected API version"
            f" ({resource.api_version})"
        )
    if kind and kind != resource.kind:
        raise refusals.bad_request(
            f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})"
        )
    thing["apiVersion"], thing["kind"] = resource.api_version, resource.kind


def check(resource: Resource, thing: Object) -> None:
    """Refuse what the schema, or the API for every kind, does not allow.

    Raises:
        RefusedError: 422 with all that is wrong; 400 where a built-in kind cannot even be decoded.
    """
    found = list(structural.problems(thing, resource.schema))
    wrong = [problem for problem in found if problem.reason == "FieldValueTypeInvalid"]
    if wrong and (not resource.custom or wrong[0].field.startswith("metadata")):
        raise refusals.undecodable(resource, unmarshalling(resource, wrong[0]))
    found = [*naming.problems(thing["metadata"]), *found] if not wrong else found
    if resource.kind == "ConfigMap":
        found += naming.config_map(thing)
    if found:
        raise refusals.invalid(resource, thing["metadata"].get("name", ""), found)


def mistyped(resource: Resource, thing: Object) -> list[Problem]:
    """What of the object is of another type than its schema has."""
    found = structural.problems(thing, resource.schema)
    return [problem for problem in found if problem.reason == "FieldValueTypeInvalid"]


def unmarshalling(resource: Resource, problem: Problem) -> str:
    """What Go's JSON decoder says of a field of another type."""
    wanted = problem.message.split("of type ")[1].split(":")[0]
    got = problem.message.split('"')[1] if '"' in problem.message else "null"
    field = f"{resource.kind}.{problem.field}"
    return f"json: cannot unmarshal {got} into Go struct field {field} of type {wanted}"


def unversioned(resource: Resource, thing: Object) -> None:
    """An update of most kinds must say which version it is of.

    Raises:
        RefusedError: 422, it does not.
    """
    if resource.custom or resource.kind in ("Lease",):
        problem = Problem(
            "metadata.resourceVersion",
            "FieldValueInvalid",
            "Invalid value: 0x0: must be specified for an update",
        )
        raise refusals.invalid(resource, thing["metadata"]["name"], [problem])


def carry_over(resource: Resource, before: Object, after: Object, subresource: str) -> None:
    """What this write may not change is as it was; in place."""
    if subresource == "status":
        status = after.get("status")
        kept = copied(before)
        after.clear()
        after.update(kept)
        after.pop("status", None)
        if status is not None:
            after["status"] = status
    elif "status" in resource.subresources:
        after.pop("status", None)
        if "status" in before:
            after["status"] = copied(before["status"])
    for name in SERVERS:
        after["metadata"].pop(name, None)
        if name in before["metadata"]:
            after["metadata"][name] = before["metadata"][name]
    for name in ("name", "namespace"):
        if name in before["metadata"]:
            after["metadata"][name] = before["metadata"][name]


def generation(resource: Resource, before: Object, after: Object) -> int | None:
    """Counts the changes of what is wanted; kinds without a spec have none."""
    was: int | None = before["metadata"].get("generation")
    if was is None:
        return None
    ignored = {"metadata", "apiVersion", "kind"}
    if "status" in resource.subresources:
        ignored.add("status")
    changed = _without(before, ignored) != _without(after, ignored)
    return was + changed


def first_generation(resource: Resource) -> int | None:
    """Of a new object."""
    counts = resource.custom or resource.kind == "Deployment"
    return 1 if counts else None


def same(before: Object, after: Object) -> bool:
    """Whether nothing that anybody could see has changed: then nothing is written."""
    return _bare(before) == _bare(after)


def _bare(thing: Object) -> Object:
    metadata = _without(thing["metadata"], {"resourceVersion", "managedFields"})
    managed = [_without(e, {"time"}) for e in thing["metadata"].get("managedFields") or ()]
    return {**thing, "metadata": {**metadata, "managedFields": managed}}


def _without(thing: Object, names: set[str]) -> Object:
    return {name: each for name, each in thing.items() if name not in names}


def own(
    resource: Resource, before: Object | None, after: Object, options: Options, now: str
) -> None:
    """Note in ``after`` whose its fields are, when it was not applied but written."""
    owned = ownership.after_update(before, after, resource.schema, options.manager)
    if before:
        after["metadata"]["managedFields"] = copied(before["metadata"].get("managedFields") or [])
    else:
        after["metadata"].pop("managedFields", None)
    ownership.write(after, owned, now)
