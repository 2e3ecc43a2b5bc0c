"""From a request to its answer: which verb on which kind, by whom, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.kubernetes import access, discovery, refusals
from tests.kubernetes.access import Deed, User
from tests.kubernetes.objects import APPLY, Objects
from tests.kubernetes.ownership import Manager
from tests.kubernetes.refusals import Object, Problem
from tests.kubernetes.resources import Resource
from tests.kubernetes.selection import Selection, Watch, listed
from tests.kubernetes.writing import Options

VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Request:
    """What came by HTTP.

    Attributes:
        query: the last value of each parameter.
        headers: names in lower case.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back at once."""

    code: int
    body: Object
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """What goes back bit by bit: the events of a watch, for so long, with bookmarks or not."""

    watch: Watch
    timeout_s: float | None
    bookmarks: bool


@dataclass(frozen=True, slots=True)
class Target:
    """What a path leads to.

    Attributes:
        api_version: ``v1``, ``GROUP/VERSION``.
        namespace, name, subresource: ``""`` where there is none.
    """

    api_version: str
    plural: str
    namespace: str
    name: str
    subresource: str

    @property
    def group(self) -> str:
        """``""`` of the core."""
        return self.api_version.rpartition("/")[0]


@dataclass(slots=True)
class Api:
    """The API of one cluster.

    Attributes:
        resources: the kinds that are served.
        users: by bearer token.
        asked: every request: verb, path, and the user's name.
    """

    objects: Objects
    resources: Callable[[], tuple[Resource, ...]]
    users: dict[str, User] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def verb(self, request: Request) -> str:
        """get, list, watch, create, update, patch, delete or deletecollection."""
        verb = VERBS.get(request.method, "")
        target = parse(request.path)
        if target and not target.name:
            if verb == "get":
                watching = request.query.get("watch", "") in ("true", "True", "1")
                return "watch" if watching else "list"
            if verb == "delete":
                return "deletecollection"
        return verb

    def answer(self, request: Request) -> Reply | Stream:
        """Do what is asked.

        Raises:
            RefusedError: it is not done.
        """
        user = self._user(request)
        verb = self.verb(request)
        self.asked.append((verb, request.path, user.name))
        told = self._about(request.path)
        if told is not None:
            return Reply(200, told)
        target = parse(request.path)
        if target is None:
            raise refusals.no_such_path()
        if target.group == "authorization.k8s.io":
            return self._review(user, request)
        resource = self._resource(target)
        self._authorize(user, resource, verb, target)
        if verb in ("list", "watch"):
            return self._selected(resource, target, verb, request.query)
        return self._done(resource, target, verb, request)

    def _user(self, request: Request) -> User:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token not in self.users:
            raise refusals.unauthorized()
        return self.users[token]

    def _about(self, path: str) -> Object | None:
        steps = path.strip("/").split("/")
        if steps == ["version"]:
            return discovery.version()
        if steps == ["api"]:
            return discovery.core()
        if steps == ["apis"]:
            return discovery.groups(self.resources())
        if steps[0] == "apis" and len(steps) == 2:
            found = discovery.group(self.resources(), steps[1])
            return found if found["versions"] else None
        if (steps[0], len(steps)) in (("api", 2), ("apis", 3)):
            found = discovery.kinds(self.resources(), "/".join(steps[1:]))
            return found if found["resources"] else None
        return None

    def _resource(self, target: Target) -> Resource:
        for each in self.resources():
            if (each.api_version, each.plural) == (target.api_version, target.plural):
                if target.subresource and target.subresource not in each.subresources:
                    break
                return each
        raise refusals.no_such_path()

    def _authorize(self, user: User, resource: Resource, verb: str, target: Target) -> None:
        plural = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
        name = "" if verb == "create" else target.name
        namespace = target.name if target.plural == "namespaces" else target.namespace
        deed = Deed(verb, target.group, plural, namespace, name)
        if not access.allowed(self.objects.store, user, deed):
            raise refusals.forbidden(resource, name, user.name, str(deed))

    def _selected(
        self, resource: Resource, target: Target, verb: str, query: Mapping[str, str]
    ) -> Reply | Stream:
        selection = Selection(
            resource,
            target.namespace,
            query.get("labelSelector", ""),
            query.get("fieldSelector", ""),
        )
        store = self.objects.store
        if verb == "list":
            limit = int(query.get("limit", "0"))
            return Reply(200, listed(store, selection, limit, query.get("continue", "")))
        revision = query.get("resourceVersion", "")
        since = int(revision) if revision not in ("", "0") else None
        timeout = query.get("timeoutSeconds")
        return Stream(
            Watch(store, selection, since),
            float(timeout) if timeout else None,
            _true(query.get("allowWatchBookmarks", "")),
        )

    def _done(self, resource: Resource, target: Target, verb: str, request: Request) -> Reply:
        objects, where = self.objects, (resource, target.namespace, target.name)
        if verb == "get":
            return Reply(200, objects.get(*where))
        body = _body(request)
        options = _options(resource, verb, request, target.subresource)
        if verb == "create" and not target.name:
            made = objects.create(resource, target.namespace, body, options)
            return Reply(201, made, tuple(options.warnings))
        if verb == "update":
            made = objects.update(*where, body, options, target.subresource)
        elif verb == "patch":
            content_type = request.headers.get("content-type", "").partition(";")[0]
            made = objects.patch(*where, content_type, body, options, target.subresource)
        elif verb == "delete":
            made = objects.delete(*where, body, options)
        elif verb == "deletecollection":
            made = self._emptied(resource, target, body, request, options)
        else:
            raise refusals.method_not_allowed()
        return Reply(200, made, tuple(options.warnings))

    def _emptied(
        self, resource: Resource, target: Target, body: Any, request: Request, options: Options
    ) -> Object:
        query = request.query
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        selection = Selection(resource, target.namespace, labels, fields)
        found = listed(self.objects.store, selection, 0, "")
        for thing in found["items"]:
            namespace = thing["metadata"].get("namespace", "")
            self.objects.delete(resource, namespace, thing["metadata"]["name"], body, options)
        return found

    def _review(self, user: User, request: Request) -> Reply:
        if request.method != "POST" or not request.path.endswith("/selfsubjectaccessreviews"):
            raise refusals.no_such_path()
        review = _body(request)
        asked = review["spec"].get("resourceAttributes") or {}
        resource, subresource = asked.get("resource", ""), asked.get("subresource", "")
        deed = Deed(
            asked.get("verb", ""),
            asked.get("group", ""),
            f"{resource}/{subresource}" if subresource else resource,
            asked.get("namespace", ""),
            asked.get("name", ""),
        )
        reason = access.allowed(self.objects.store, user, deed)
        status: Object = {"allowed": bool(reason)} | ({"reason": reason} if reason else {})
        kind = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
        return Reply(201, {**kind, "metadata": {}, "spec": review["spec"], "status": status})


def parse(path: str) -> Target | None:
    """What a path leads to; None of those that lead to no objects."""
    steps = [step for step in path.split("/") if step]
    if steps[:1] == ["api"] and len(steps) > 2:
        version, rest = steps[1], steps[2:]
    elif steps[:1] == ["apis"] and len(steps) > 3:
        version, rest = "/".join(steps[1:3]), steps[3:]
    else:
        return None
    namespace = ""
    # "namespaces/NAME" and "namespaces/NAME/status" are about the namespace itself.
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        return None
    plural, name, subresource = (*rest, "", "")[:3]
    return Target(version, plural, namespace, name, subresource)


def _true(value: str) -> bool:
    return value.lower() in ("true", "1")


def _body(request: Request) -> Any:
    if not request.body:
        return None
    try:
        if request.headers.get("content-type", "").startswith(APPLY):
            return yaml.safe_load(request.body)
        return json.loads(request.body)
    except (ValueError, yaml.YAMLError) as error:
        raise refusals.bad_request(f"the object provided is unrecognized: {error}") from None


def _options(resource: Resource, verb: str, request: Request, subresource: str) -> Options:
    query = request.query
    content_type = request.headers.get("content-type", "")
    applying = verb == "patch" and content_type.startswith(APPLY)
    name = query.get("fieldManager", "")
    if applying and not name:
        problem = Problem(
            "fieldManager", "FieldValueRequired", "Required value: is required for apply patch"
        )
        options = Resource("meta.k8s.io", "v1", "", "", "PatchOptions", False, (), (), False, {})
        raise refusals.invalid(options, "", [problem])
    name = name or request.headers.get("user-agent", "unknown").partition("/")[0]
    operation = "Apply" if applying else "Update"
    return Options(
        Manager(name, operation, resource.api_version, subresource),
        dry_run=query.get("dryRun") == "All",
        strictness=query.get("fieldValidation") or "Warn",
        force=_true(query.get("force", "")),
    )
