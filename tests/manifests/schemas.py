"""Whether an API server would take an object: Kubernetes' own schemas, and those of the real CRDs.

Strict, as ``kubectl apply`` asks for: a field that no schema knows is refused.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml

from tests.manifests.kustomize import Object

KUBERNETES = ("1.30", "1.37")  # the oldest and the newest that we say it runs on
KSERVE = "kserve-0.20.0"
BUILT_IN = ("v1", "apps/v1", "policy/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1")
# Not among the CRDs: what is said of it here has the shape that it has in the other (Gateway API).
SAME_SHAPE = {"GRPCRoute": "HTTPRoute"}


def problems(thing: Object) -> list[str]:
    """What an API server would refuse of it, one line each."""
    what = f"{thing['kind']} {thing['metadata']['name']}"
    if thing["apiVersion"] not in BUILT_IN:
        return [f"{what}: {error}" for error in _custom(thing)]
    found = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{what}: {version}: {error.message}")
    return found


def _custom(thing: Object) -> list[str]:
    schemas = _crds(_folder())
    key = (*thing["apiVersion"].split("/"), SAME_SHAPE.get(thing["kind"], thing["kind"]))
    if key not in schemas:
        return [f"no CRD of {key}"]
    errors = jsonschema_rs.validator_for(schemas[key]).iter_errors(thing)
    return [f"{list(error.instance_path)}: {error.message[:300]}" for error in errors]


def _folder() -> Path:
    """Where the CRDs lie, beside the assets; absent, the test is skipped."""
    assets = Path(os.environ.get("MILLRACE_TEST_ASSETS", "../shared/assets")).resolve()
    folder = assets.parent / "crds"
    if not folder.is_dir():
        pytest.skip(f"no CRDs in {folder}: set MILLRACE_TEST_ASSETS to the assets beside them")
    return folder


@functools.cache
def _crds(folder: Path) -> dict[tuple[str, str, str], Any]:
    """Strict schemas by group, version and kind."""
    found = {}
    for file in folder.rglob("*.yaml"):
        if "kserve-" in str(file) and KSERVE not in str(file):
            continue
        for crd in yaml.load_all(file.read_text(encoding="utf-8"), yaml.CSafeLoader):
            if crd and crd.get("kind") == "CustomResourceDefinition":
                spec = crd["spec"]
                for version in spec["versions"]:
                    key = (spec["group"], version["name"], spec["names"]["kind"])
                    found[key] = _strict(version["schema"]["openAPIV3Schema"])
    return found


def _strict(schema: Any) -> Any:
    """The schema with every object closed whose fields it names; in place."""
    if isinstance(schema, list):
        for each in schema:
            _strict(each)
    elif isinstance(schema, dict):
        for each in schema.values():
            _strict(each)
        closed = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
        if closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    return schema
