"""Lists and watches: which objects are meant, in pages, and what becomes of them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.kubernetes import refusals
from tests.kubernetes.refusals import Object
from tests.kubernetes.resources import Resource
from tests.kubernetes.store import Change, CompactedError, Key, Store


@dataclass(frozen=True, slots=True)
class Selection:
    """The objects of one kind in one namespace (``""``: in all) with labels and fields."""

    resource: Resource
    namespace: str
    labels: str = ""
    fields: str = ""

    def has(self, key: Key) -> bool:
        """Whether an object there is of the kind and in the namespace."""
        resource = self.resource
        return (key.group, key.plural) == (resource.group, resource.plural) and (
            not self.namespace or key.namespace == self.namespace
        )

    def picks(self, thing: Object | None) -> bool:
        """Whether its labels and fields are those meant."""
        if thing is None:
            return False
        labels = thing["metadata"].get("labels") or {}
        return all(test(labels) for test in _label_tests(self.labels)) and all(
            test(thing) for test in _field_tests(self.fields)
        )


_TERM = re.compile(r"^(!?)([^\s=!(),]+)\s*(==|=|!=|\bin\b|\bnotin\b)?\s*(.*)$")


def _label_tests(selector: str) -> Iterator[Callable[[Mapping[str, str]], bool]]:
    for term in filter(None, re.split(r",(?![^(]*\))", selector)):
        found = _TERM.match(term.strip())
        if not found:
            raise refusals.bad_request(f"unable to parse requirement: {term}")
        absent, key, operator, rest = found.groups()
        values = {each.strip() for each in rest.strip("() ").split(",")}
        yield _label_test(absent, key, operator, values)


def _label_test(
    absent: str, key: str, operator: str | None, values: set[str]
) -> Callable[[Mapping[str, str]], bool]:
    if operator is None:
        return lambda labels: (key in labels) != bool(absent)
    if operator in ("!=", "notin"):
        return lambda labels: labels.get(key) not in values
    return lambda labels: labels.get(key) in values


def _field_tests(selector: str) -> Iterator[Callable[[Object], bool]]:
    for term in filter(None, selector.split(",")):
        found = re.match(r"^([\w.]+)(==|=|!=)(.*)$", term)
        if not found:
            raise refusals.bad_request(f"unable to parse field selector: {term}")
        yield _field_test(*found.groups())


def _field_test(path: str, operator: str, value: str) -> Callable[[Object], bool]:
    def test(thing: Object) -> bool:
        where: Any = thing
        for step in path.split("."):
            where = where.get(step) if isinstance(where, dict) else None
        return (str(where if where is not None else "") == value) == (operator != "!=")

    return test


def listed(store: Store, selection: Selection, limit: int, after: str) -> Object:
    """A list, of ``limit`` objects (0: of all) after those of the page before."""
    resource = selection.resource
    with store.changed:
        found = [
            (key, thing)
            for key, thing in store.select(selection.has)
            if selection.picks(thing) and [key.namespace, key.name] > _place(after)
        ]
        metadata: Object = {"resourceVersion": str(store.revision)}
    page = found[:limit] if limit else found
    if len(page) < len(found):
        last = page[-1][0]
        mark = json.dumps([last.namespace, last.name]).encode()
        metadata["continue"] = base64.urlsafe_b64encode(mark).decode()
        metadata["remainingItemCount"] = len(found) - len(page)
    items = [thing | {"apiVersion": resource.api_version} for _, thing in page]
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": items,
    }


def _place(mark: str) -> list[str]:
    if not mark:
        return ["", ""]
    try:
        place: list[str] = json.loads(base64.urlsafe_b64decode(mark))
    except ValueError:
        raise refusals.bad_request("continue key is not valid") from None
    return place


class Watch:
    """The events of a selection, from a revision on.

    Args:
        revision: ``None`` begins with what there is.
    """

    def __init__(self, store: Store, selection: Selection, revision: int | None) -> None:
        self._store, self._selection = store, selection
        self._first: list[Object] = []
        with store.changed:
            if revision is None:
                found = store.select(selection.has)
                self._first = [
                    self._event("ADDED", thing) for _, thing in found if selection.picks(thing)
                ]
            self._seen = store.revision if revision is None else revision

    def next(self) -> list[Object]:
        """The events that have not been given yet; a 410 is one of them. Does not wait."""
        first, self._first = self._first, []
        with self._store.changed:
            try:
                changes = list(self._store.since(self._seen))
            except CompactedError as lost:
                refusal = refusals.expired(self._seen, lost.oldest)
                return [*first, {"type": "ERROR", "object": refusal.body}]
            self._seen = self._store.revision
        return first + [event for change in changes for event in self._events(change)]

    def bookmark(self) -> Object:
        """Says up to which revision everything has been given."""
        resource = self._selection.resource
        metadata = {"resourceVersion": str(self._seen), "creationTimestamp": None}
        thing = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return {"type": "BOOKMARK", "object": thing}

    def _events(self, change: Change) -> Iterator[Object]:
        if not self._selection.has(change.key):
            return
        was = self._selection.picks(change.before)
        is_now = change.kind != "DELETED" and self._selection.picks(change.after)
        if was and not is_now:
            yield self._event("DELETED", change.after)
        elif is_now:
            yield self._event("MODIFIED" if was else "ADDED", change.after)

    def _event(self, kind: str, thing: Object) -> Object:
        version = {"apiVersion": self._selection.resource.api_version}
        return {"type": kind, "object": thing | version}
