"""Who may do what: the RBAC objects of the cluster decide, as in a real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.kubernetes.store import Key, Store

Object = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)


ADMIN = User("kubernetes-admin", (MASTERS, "system:authenticated"))


def service_account(namespace: str, name: str) -> User:
    """The user that a pod with that service account is."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return User(f"system:serviceaccount:{namespace}:{name}", (*groups, "system:authenticated"))


@dataclass(frozen=True, slots=True)
class Deed:
    """What is asked for.

    Attributes:
        resource: the plural, with its subresource: ``inferenceservices/status``.
        namespace: ``""`` of the whole cluster.
        name: ``""`` where no single object is meant.
    """

    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'{self.verb} resource "{self.resource}" in API group "{self.group}" {where}'


def allowed(store: Store, user: User, deed: Deed) -> str:
    """The binding that allows it, as a review gives its reason; ``""`` if none does."""
    if MASTERS in user.groups:
        return "RBAC: allowed by group system:masters"
    for binding, role in _roles(store, user, deed.namespace):
        if any(_grants(rule, deed) for rule in (role or {}).get("rules") or ()):
            return f"RBAC: allowed by {binding}"
    return ""


def _roles(store: Store, user: User, namespace: str) -> Iterator[tuple[str, Object | None]]:
    bindings = store.select(
        lambda key: (
            key.group == GROUP
            and (
                key.plural == "clusterrolebindings"
                or (key.plural == "rolebindings" and key.namespace == namespace != "")
            )
        )
    )
    for key, binding in bindings:
        if any(_is(subject, user, key.namespace) for subject in binding.get("subjects") or ()):
            reference = binding["roleRef"]
            plural = f"{reference['kind'].lower()}s"
            where = key.namespace if plural == "roles" else ""
            kind = binding.get("kind", "RoleBinding")
            told = f'{kind} "{key.name}" of {reference["kind"]} "{reference["name"]}"'
            yield told, store.get(Key(GROUP, plural, where, reference["name"]))


def _is(subject: Object, user: User, namespace: str) -> bool:
    if subject["kind"] == "Group":
        return subject["name"] in user.groups
    if subject["kind"] == "User":
        return bool(subject["name"] == user.name)
    where = subject.get("namespace") or namespace
    return user.name == f"system:serviceaccount:{where}:{subject['name']}"


def _grants(rule: Object, deed: Deed) -> bool:
    plain, _, subresource = deed.resource.partition("/")
    resources = {deed.resource, "*"} | ({f"*/{subresource}"} if subresource else {plain})
    return (
        bool({deed.verb, "*"} & set(rule.get("verbs") or ()))
        and bool({deed.group, "*"} & set(rule.get("apiGroups") or ()))
        and bool(resources & set(rule.get("resources") or ()))
        and (not rule.get("resourceNames") or deed.name in rule["resourceNames"])
    )
