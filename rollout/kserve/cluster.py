"""Requests to the Kubernetes API in one namespace: each bounded in time, each refusal explained."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import urllib3

from rollout.errors import ConflictError, NotFoundError
from rollout.kserve.explain import Request, lost, refused
from rollout.kserve.merge import merge_patch
from rollout.kserve.resources import Manifest, Resource

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

CONNECT_S, ANSWER_S = 5.0, 20.0
TRIES = 10  # to change what others change at the same time, each with what it is by then
MERGE = "application/merge-patch+json"
# The server leaves out what it does not know unless it is told to refuse it.
STRICT = [("fieldValidation", "Strict")]
FIELD_MANAGER = [("fieldManager", "millrace-rollout")]


class Cluster:
    """One namespace of a cluster. Every method raises RolloutError.

    Attributes:
        namespace: the only one that is asked about.
    """

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._client = client
        self.namespace = namespace

    def get(self, resource: Resource, name: str) -> Manifest:
        """One object.

        Raises:
            NotFoundError: there is none of that name.
        """
        return self._ask("get", resource, name)

    def find(self, resource: Resource, name: str) -> Manifest | None:
        """One object, or None where there is none, nor such a kind of object."""
        try:
            return self.get(resource, name)
        except NotFoundError:
            return None

    def list_all(self, resource: Resource, selector: str = "") -> list[Manifest]:
        """All objects, or those with the labels ``selector``; none where the kind is unknown."""
        query = [("labelSelector", selector)] if selector else []
        try:
            return list(self._ask("list", resource, None, query=query).get("items") or [])
        except NotFoundError:
            return []

    def create(self, resource: Resource, thing: Manifest) -> Manifest:
        """Make an object; its kind and namespace are filled in.

        Raises:
            ConflictError: there is one of that name.
        """
        thing = {"apiVersion": resource.api_version, "kind": resource.kind, **thing}
        thing["metadata"] = {**thing["metadata"], "namespace": self.namespace}
        name = thing["metadata"]["name"]
        return self._ask("create", resource, name, body=thing, query=STRICT + FIELD_MANAGER)

    def patch(
        self, resource: Resource, name: str, patch: Manifest, *, dry_run: bool = False
    ) -> Manifest:
        """Merge ``patch`` (RFC 7386) into an object, or only see whether it would be taken.

        Raises:
            ConflictError: it names a ``resourceVersion`` that is not the newest.
        """
        query = STRICT + FIELD_MANAGER + ([("dryRun", "All")] if dry_run else [])
        return self._ask("patch", resource, name, body=patch, query=query)

    def change(self, resource: Resource, name: str, edit: Callable[[Manifest], None]) -> Manifest:
        """Edit an object as it is now; again, as it is then, where somebody else was faster.

        Args:
            resource: its kind.
            name: of the object.
            edit: changes the object that it is given, in place. May raise RolloutError.

        Returns:
            The object as it was kept. Nothing is sent where nothing has to change.

        Raises:
            ConflictError: others were faster each time.
        """
        for tries_left in reversed(range(TRIES)):
            before = self.get(resource, name)
            after = copy.deepcopy(before)
            edit(after)
            patch = merge_patch(before, after)
            if not patch:
                return before
            patch.setdefault("metadata", {})["resourceVersion"] = before["metadata"][
                "resourceVersion"
            ]
            try:
                return self.patch(resource, name, patch)
            except ConflictError:
                if not tries_left:
                    raise
        raise AssertionError("unreachable")

    def delete(self, resource: Resource, name: str) -> None:
        """Delete an object; nothing if there is none."""
        try:
            self._ask("delete", resource, name)
        except NotFoundError:
            return

    def _ask(
        self,
        verb: str,
        resource: Resource,
        name: str | None,
        *,
        body: Manifest | None = None,
        query: list[tuple[str, str]] | None = None,
    ) -> Manifest:
        methods = {"get": "GET", "list": "GET", "create": "POST", "patch": "PATCH"}
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = MERGE if verb == "patch" else "application/json"
        path = resource.path(self.namespace, None if verb == "create" else name)
        with _explained(Request(verb, resource, self.namespace, name)):
            answer: Any = self._client.call_api(
                path,
                methods.get(verb, "DELETE"),
                query_params=query or [],
                header_params=headers,
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=(CONNECT_S, ANSWER_S),
            )
        return answer if isinstance(answer, dict) else {}


@contextmanager
def _explained(request: Request) -> Iterator[None]:
    from kubernetes.client.exceptions import ApiException

    try:
        yield
    except ApiException as error:
        if not error.status:
            raise lost(request, error) from error
        raise refused(request, int(error.status), _message(error)) from error
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        # ValueError: a body that was cut off is no JSON.
        raise lost(request, error) from error


def _message(error: Any) -> str:
    try:
        said = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        said = error.body or error.reason or ""
    return " ".join(str(said).split())[:500]
