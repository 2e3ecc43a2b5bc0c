"""What the API server says of itself: groups, versions, and the kinds in them."""

from __future__ import annotations

from collections.abc import Iterable

from tests.kubernetes.refusals import Object
from tests.kubernetes.resources import KUBERNETES, Resource

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def version() -> Object:
    """``/version``."""
    major, minor = KUBERNETES.split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{KUBERNETES}.0",
        "gitCommit": "0" * 40,
        "gitTreeState": "clean",
        "buildDate": "2024-04-17T17:27:03Z",
        "goVersion": "go1.22.2",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def core() -> Object:
    """``/api``."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups(resources: Iterable[Resource]) -> Object:
    """``/apis``."""
    names = dict.fromkeys(each.group for each in resources if each.group)
    resources = list(resources)
    found = [group(resources, name) for name in (*names, "authorization.k8s.io")]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(resources: Iterable[Resource], name: str) -> Object:
    """``/apis/GROUP``; without versions where there is none of that name."""
    versions = dict.fromkeys(each.version for each in resources if each.group == name)
    if name == "authorization.k8s.io":
        versions = {"v1": None}
    found = [{"groupVersion": f"{name}/{each}", "version": each} for each in versions]
    head: Object = {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": found}
    return head | ({"preferredVersion": found[0]} if found else {})


def kinds(resources: Iterable[Resource], api_version: str) -> Object:
    """``/api/v1``, ``/apis/GROUP/VERSION``; without resources where there is no such version."""
    found = []
    for each in resources:
        if each.api_version != api_version:
            continue
        entry = {
            "name": each.plural,
            "singularName": each.singular,
            "namespaced": each.namespaced,
            "kind": each.kind,
            "verbs": list(VERBS),
        }
        found.append(entry | ({"shortNames": list(each.short_names)} if each.short_names else {}))
        found += [
            {
                "name": f"{each.plural}/{subresource}",
                "singularName": "",
                "namespaced": each.namespaced,
                "kind": each.kind,
                "verbs": ["get", "patch", "update"],
            }
            for subresource in each.subresources
        ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": found,
    }
