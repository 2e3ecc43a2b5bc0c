"""The kinds that the cluster serves, with the schemas of the real ones."""

from __future__ import annotations

import functools
import importlib.resources
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

Schema = dict[str, Any]
Object = dict[str, Any]
KUBERNETES = "1.30"


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind, as one version of its group serves it.

    Attributes:
        group: ``""`` of the core.
        subresources: such as ``status``; writes of the object itself leave those fields alone.
        custom: of a CRD, where fields that the schema does not know are dropped.
    """

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    subresources: tuple[str, ...]
    short_names: tuple[str, ...]
    custom: bool
    schema: Schema

    @property
    def qualified(self) -> str:
        """``inferenceservices.serving.kserve.io``, as messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        """``serving.kserve.io/v1beta1``; ``v1`` of the core."""
        return f"{self.group}/{self.version}" if self.group else self.version


# Group, version, plural, kind, in a namespace, subresources, short names.
_BUILT_IN = (
    ("", "v1", "configmaps", "ConfigMap", True, (), ("cm",)),
    ("", "v1", "events", "Event", True, (), ("ev",)),
    ("", "v1", "namespaces", "Namespace", False, ("status",), ("ns",)),
    ("", "v1", "pods", "Pod", True, ("status",), ("po",)),
    ("", "v1", "secrets", "Secret", True, (), ()),
    ("", "v1", "serviceaccounts", "ServiceAccount", True, (), ("sa",)),
    ("", "v1", "services", "Service", True, ("status",), ("svc",)),
    ("apps", "v1", "deployments", "Deployment", True, ("status", "scale"), ("deploy",)),
    ("coordination.k8s.io", "v1", "leases", "Lease", True, (), ()),
    ("events.k8s.io", "v1", "events", "Event", True, (), ("ev",)),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False, (), ()),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False, (), ()),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", True, (), ()),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role", True, (), ()),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        False,
        ("status",),
        ("crd", "crds"),
    ),
)


@functools.cache
def built_in() -> tuple[Resource, ...]:
    """The kinds of Kubernetes itself."""
    found = []
    for group, version, plural, kind, namespaced, subresources, short in _BUILT_IN:
        # The schema of a CRD refers to itself, and is none of a test's concerns.
        schema = {} if plural == "customresourcedefinitions" else _published(group, version, kind)
        names = (plural, kind.lower(), kind)
        found.append(
            Resource(group, version, *names, namespaced, subresources, short, False, schema)
        )
    return tuple(found)


def custom(crd: Object) -> Iterator[Resource]:
    """The kinds of a CRD, one of each version that is served."""
    spec = crd["spec"]
    names = spec["names"]
    for version in spec["versions"]:
        if version.get("served"):
            yield Resource(
                group=spec["group"],
                version=version["name"],
                plural=names["plural"],
                singular=names.get("singular", names["kind"].lower()),
                kind=names["kind"],
                namespaced=spec["scope"] == "Namespaced",
                subresources=tuple(version.get("subresources") or {}),
                short_names=tuple(names.get("shortNames") or ()),
                custom=True,
                schema=_with_metadata(version["schema"]["openAPIV3Schema"]),
            )


def _with_metadata(schema: Schema) -> Schema:
    """A CRD says nothing of metadata: it is that of all kinds."""
    metadata = _expand(_definitions()["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"], ())
    return {**schema, "properties": {**schema["properties"], "metadata": metadata}}


def crds(*folders: str) -> list[Object]:
    """The real CRDs of ``kserve-0.20.0`` and so on; where they are absent, the test is skipped."""
    assets = Path(os.environ.get("MILLRACE_TEST_ASSETS", "../shared/assets")).resolve()
    root = assets.parent / "crds"
    if not root.is_dir():
        pytest.skip(f"no CRDs in {root}: set MILLRACE_TEST_ASSETS to the assets beside them")
    return [crd for folder in folders for crd in _read(root / folder)]


@functools.cache
def _read(folder: Path) -> tuple[Object, ...]:
    found: list[Object] = []
    for file in sorted(folder.rglob("*.yaml")):
        things = yaml.load_all(file.read_text(encoding="utf-8"), yaml.CSafeLoader)
        found += [
            thing for thing in things if (thing or {}).get("kind") == "CustomResourceDefinition"
        ]
    return tuple(found)


def _published(group: str, version: str, kind: str) -> Schema:
    name = f"{kind.lower()}-{group.split('.')[0] + '-' if group else ''}{version}.json"
    schema: Schema = json.loads((_schemas() / name).read_text(encoding="utf-8"))
    expanded: Schema = _expand(schema, ())
    return expanded


def _schemas() -> Path:
    package = importlib.resources.files("kubernetes_validate")
    return Path(str(package)) / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local"


@functools.cache
def _definitions() -> dict[str, Schema]:
    text = (_schemas() / "_definitions.json").read_text(encoding="utf-8")
    found: dict[str, Schema] = json.loads(text)["$defs"]
    return found


def _expand(schema: Any, within: tuple[str, ...]) -> Any:
    """The schema with what it refers to put in its place; what is within itself is left open."""
    if isinstance(schema, list):
        return [_expand(each, within) for each in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return {key: _expand(each, within) for key, each in schema.items()}
    name = reference.rsplit("/", 1)[1]
    if name in within:
        return {}
    local = {key: each for key, each in schema.items() if key != "$ref"}
    return {**_expand(_definitions()[name], (*within, name)), **local}
