"""The installation steps of docs/operations.md name what there is."""

from __future__ import annotations

import re

from tests.manifests.kustomize import only, overlay
from tests.manifests.test_access import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_file_that_is_applied_is_there():
    """By `-f` and by `-k`."""
    applied = re.findall(r"-[fk] (manifests/[\w./-]+)", PAGE)

    assert len(applied) >= 4
    assert [name for name in applied if not (ROOT / name).exists()] == []


def test_the_package_is_copied_to_where_the_pod_looks_for_it():
    """And before there is a pod that would have the folder made by root."""
    uri = only(overlay("local"), "InferenceService")["spec"]["predictor"]["model"]["storageUri"]
    claim, _, folder = uri.removeprefix("pvc://").partition("/")
    (copied,) = re.findall(r"cp var/store/digits/1 store:/models/(\S+)", PAGE)

    assert copied == folder
    assert only(overlay("local"), "PersistentVolumeClaim")["metadata"]["name"] == claim
    assert PAGE.index("store:/models/") < PAGE.index("$ kubectl apply -k manifests/overlays/local")


def test_the_image_of_the_base_is_the_one_that_is_built():
    """Its tag is the version, and so is that of the GPU variants."""
    version = re.search(r"^version = (\S+)$", (ROOT / "setup.cfg").read_text("utf-8"), re.M)[1]

    (container,) = only(overlay("local"), "ServingRuntime")["spec"]["containers"]
    assert container["image"] == f"millrace:{version}"
    (container,) = only(overlay("production"), "ServingRuntime")["spec"]["containers"]
    assert container["image"].endswith(f"/millrace:{version}-cuda")
