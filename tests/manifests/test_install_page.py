"""The installation steps of docs/operations.md name what there is."""

from __future__ import annotations

import re

from click.testing import CliRunner

from millrace.cli import commands
from tests.manifests.kustomize import build, only, overlay
from tests.manifests.test_access import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_file_that_is_applied_is_there():
    """By `-f` and by `-k`."""
    applied = re.findall(r"-[fk] (manifests/[\w./-]+)", PAGE)

    assert len(applied) >= 4
    written = "manifests/overlays/NAME"  # by the command of the same block
    there = [name for name in applied if name != written]
    assert [name for name in there if not (ROOT / name).exists()] == []


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


def test_the_overlay_for_a_cloud_is_written_by_the_line_shown(colours, tmp_path):
    """With the image by digest, and ways to the store and to Prometheus."""
    (line,) = re.findall(
        r"^\$ millrace (manifests NAME (?:\\\n|[^\n])*s3:(?:\\\n|[^\n])*)", PAGE, re.M
    )
    digest = "sha256:" + "0123456789abcdef" * 4
    line = line.replace("\\\n", " ").replace("--measured stages.json", "")
    words = line.replace("$(cat digest)", digest).replace("NAME", "colours").split()
    words[1] = str(colours.path)
    rates = ("--instance-rate", "1200", "--core-rate", "220", "--out", str(tmp_path / "overlay"))

    ran = CliRunner().invoke(commands, [*words, *rates])

    assert ran.exit_code == 0, ran.output
    objects = build(tmp_path / "overlay")
    (container,) = only(objects, "ServingRuntime")["spec"]["containers"]
    model = only(objects, "InferenceService")["spec"]["predictor"]["model"]
    assert container["image"] == f"registry.example.com/millrace@{digest}"
    assert model["storageUri"] == "s3://models/colours/1"
