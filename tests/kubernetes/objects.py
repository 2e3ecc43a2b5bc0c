"""The verbs of the API on the objects of a store."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from typing import Any

from tests.kubernetes import ownership, patches, refusals, structural, writing
from tests.kubernetes.refusals import Object
from tests.kubernetes.resources import Resource
from tests.kubernetes.store import Key, Store, copied
from tests.kubernetes.writing import Admission, Options, Webhook

APPLY = "application/apply-patch+yaml"


class Objects:
    """Create, get, update, patch and delete; what they give is what is answered.

    Attributes:
        mutating: asked, in order, about every write that is not of a status, before it is checked;
            they may change it.
        validating: asked after that; they may refuse it.
    """

    def __init__(self, store: Store, now: Callable[[], str]) -> None:
        self.store = store
        self.mutating: list[Webhook] = []
        self.validating: list[Webhook] = []
        self._now = now

    def key(self, resource: Resource, namespace: str, name: str) -> Key:
        """Where such an object is kept."""
        return Key(resource.group, resource.plural, namespace, name)

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """The object, in the version that is asked for."""
        found = self.store.get(self.key(resource, namespace, name))
        if found is None:
            raise refusals.not_found(resource, name)
        return found | {"apiVersion": resource.api_version}

    def create(self, resource: Resource, namespace: str, body: Any, options: Options) -> Object:
        """A new object."""
        thing = writing.decoded(resource, body, options)
        metadata = thing["metadata"]
        if metadata.get("resourceVersion"):
            why = "resourceVersion should not be set on objects to be created"
            raise refusals.RefusedError(500, "", why)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + secrets.token_hex(3)[:5]
        with self.store.changed:
            self._placed(resource, namespace, metadata)
            return self._added(resource, namespace, thing, options)

    def _placed(self, resource: Resource, namespace: str, metadata: Object) -> None:
        if not resource.namespaced:
            return
        if metadata.setdefault("namespace", namespace) != namespace:
            raise refusals.bad_request(
                "the namespace of the provided object does not match the namespace sent on the"
                " request"
            )
        if self.store.get(Key("", "namespaces", "", namespace)) is None:
            message = f'namespaces "{namespace}" not found'
            details = {"name": namespace, "kind": "namespaces"}
            raise refusals.RefusedError(404, "NotFound", message, details)

    def _added(
        self,
        resource: Resource,
        namespace: str,
        thing: Object,
        options: Options,
        owned: ownership.Owned | None = None,
    ) -> Object:
        metadata = thing["metadata"]
        for name in writing.SERVERS:
            metadata.pop(name, None)
        if "status" in resource.subresources:
            thing.pop("status", None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = self._now()
        generation = writing.first_generation(resource)
        if generation:
            metadata["generation"] = generation
        structural.default(thing, resource.schema)
        self._check("create", resource, None, thing)
        if owned is None:
            writing.own(resource, None, thing, options, self._now())
        else:
            metadata.pop("managedFields", None)
            ownership.write(thing, owned, self._now())
        key = self.key(resource, namespace, metadata["name"])
        if self.store.get(key):
            raise refusals.exists(resource, key.name)
        return thing if options.dry_run else self.store.put(key, thing)

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        options: Options,
        subresource: str = "",
    ) -> Object:
        """The object as ``body`` has it, if it is of the newest version."""
        thing = writing.decoded(resource, body, options)
        given = thing["metadata"].get("name")
        if given != name:
            raise refusals.bad_request(
                f"the name of the object ({given}) does not match the name on the URL ({name})"
            )
        with self.store.changed:
            before = self.get(resource, namespace, name)
            if not thing["metadata"].get("resourceVersion"):
                writing.unversioned(resource, thing)
            return self._changed(resource, before, thing, options, subresource)

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        content_type: str,
        body: Any,
        options: Options,
        subresource: str = "",
    ) -> Object:
        """The object with a patch of one of the four kinds."""
        with self.store.changed:
            if content_type == APPLY:
                return self._applied(resource, namespace, name, body, options, subresource)
            before = self.get(resource, namespace, name)
            after = _patched(resource, before, content_type, body)
            thing = writing.decoded(resource, after, options)
            return self._changed(resource, before, thing, options, subresource)

    def _applied(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        options: Options,
        subresource: str,
    ) -> Object:
        thing = writing.decoded(resource, body, _quiet(options))
        unknown = sorted(set(_paths(body)) - set(_paths(thing)))
        if unknown:
            group = f"{resource.api_version}, Kind={resource.kind}"
            where = f"{namespace}/{name}; {group}" if namespace else f"/{name}; {group}"
            told = f".{unknown[0]}: field not declared in schema"
            raise refusals.RefusedError(
                500, "", f"failed to create typed patch object ({where}): {told}"
            )
        given = thing["metadata"].setdefault("name", name)
        if given != name:
            raise refusals.bad_request(
                f"the name of the object ({given}) does not match the name on the URL ({name})"
            )
        if thing["metadata"].get("managedFields"):
            raise refusals.bad_request("metadata.managedFields must be nil")
        live = self.store.get(self.key(resource, namespace, name))
        if live is None:
            self._placed(resource, namespace, thing["metadata"])
        wanted = {**thing, "metadata": {**thing["metadata"]}}
        wanted["metadata"].pop("resourceVersion", None)
        result, owned = ownership.applied(
            live, wanted, resource.schema, options.manager, force=options.force
        )
        if live is None:
            return self._added(resource, namespace, result, options, owned)
        asked = thing["metadata"].get("resourceVersion")
        result["metadata"] = {**result["metadata"]}
        if asked:
            result["metadata"]["resourceVersion"] = asked
        return self._changed(resource, live, result, options, subresource, owned)

    def _changed(
        self,
        resource: Resource,
        before: Object,
        after: Object,
        options: Options,
        subresource: str,
        owned: ownership.Owned | None = None,
    ) -> Object:
        name, namespace = before["metadata"]["name"], before["metadata"].get("namespace", "")
        asked = after["metadata"].get("resourceVersion")
        if asked and asked != before["metadata"]["resourceVersion"]:
            raise refusals.outdated(resource, name)
        uid = after["metadata"].get("uid")
        if uid and uid != before["metadata"]["uid"]:
            raise refusals.precondition(resource, name, "UID", uid, before["metadata"]["uid"])
        writing.carry_over(resource, before, after, subresource)
        structural.default(after, resource.schema)
        if subresource == "status":
            writing.check(resource, after)
        else:
            self._check("update", resource, before, after)
        generation = writing.generation(resource, before, after)
        if generation:
            after["metadata"]["generation"] = generation
        if owned is None:
            writing.own(resource, before, after, options, self._now())
        else:
            ownership.write(after, owned, self._now())
        if options.dry_run or writing.same(before, after):
            return after | {"apiVersion": resource.api_version}
        key = self.key(resource, namespace, name)
        kept = self.store.put(key, after)
        if kept["metadata"].get("deletionTimestamp") and not kept["metadata"].get("finalizers"):
            self._forget(key)
        return kept

    def _check(self, verb: str, resource: Resource, before: Object | None, after: Object) -> None:
        admission = Admission(verb, resource, copied(before), after)
        for webhook in self.mutating:
            webhook(admission)
        writing.check(resource, after)
        for webhook in self.validating:
            webhook(admission)

    def delete(
        self, resource: Resource, namespace: str, name: str, body: Any, options: Options
    ) -> Object:
        """Remove the object, and what it owns; with finalizers, mark it."""
        asked = body if isinstance(body, dict) else {}
        with self.store.changed:
            found = self.get(resource, namespace, name)
            for field, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
                wanted = (asked.get("preconditions") or {}).get(field)
                have = found["metadata"][field]
                if wanted and wanted != have:
                    raise refusals.precondition(resource, name, label, wanted, have)
            if options.dry_run:
                return _gone(resource, found)
            key = self.key(resource, namespace, name)
            if found["metadata"].get("finalizers"):
                return self._marked(key, found)
            self._forget(key, orphan=asked.get("propagationPolicy") == "Orphan")
            return _gone(resource, found)

    def _marked(self, key: Key, thing: Object) -> Object:
        """It goes when its finalizers have."""
        if thing["metadata"].get("deletionTimestamp"):
            return thing
        thing["metadata"]["deletionTimestamp"] = self._now()
        thing["metadata"]["deletionGracePeriodSeconds"] = 0
        return self.store.put(key, thing)

    def _forget(self, key: Key, *, orphan: bool = False) -> None:
        gone = self.store.remove(key)
        if key.plural == "namespaces" and not key.group:
            for each, _ in self.store.select(lambda each: each.namespace == key.name):
                self.store.remove(each)
        if orphan:
            return
        uid = gone["metadata"]["uid"]
        for each, thing in self.store.select(lambda each: each.namespace == key.namespace):
            owners = [owner["uid"] for owner in thing["metadata"].get("ownerReferences") or ()]
            if owners != [uid] or not self.store.get(each):
                continue
            if thing["metadata"].get("finalizers"):
                self._marked(each, thing)
            else:
                self._forget(each)


def _gone(resource: Resource, thing: Object) -> Object:
    details = {"name": thing["metadata"]["name"], "kind": resource.plural}
    if resource.group:
        details["group"] = resource.group
    details["uid"] = thing["metadata"]["uid"]
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return {**head, "details": details}


def _patched(resource: Resource, before: Object, content_type: str, body: Any) -> Any:
    if content_type == patches.JSON:
        return patches.changed(before, body)
    if content_type == patches.MERGE:
        return patches.merged(before, body)
    if content_type == patches.STRATEGIC and not resource.custom:
        return patches.strategic(before, body, resource.schema)
    raise refusals.unsupported_patch(content_type)


def _quiet(options: Options) -> Options:
    return Options(options.manager, options.dry_run, "Ignore", options.force)


def _paths(thing: Any, path: str = "") -> list[str]:
    if isinstance(thing, list):
        return [p for i, each in enumerate(thing) for p in _paths(each, f"{path}[{i}]")]
    if not isinstance(thing, dict):
        return []
    found = []
    for name, each in thing.items():
        at = f"{path}.{name}" if path else name
        found += [at, *_paths(each, at)]
    return found
