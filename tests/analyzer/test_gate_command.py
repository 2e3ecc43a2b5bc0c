"""``millrace analyze --gate`` as a user types it: whose fault is what, and what cannot be told."""

from __future__ import annotations

import pytest
from onnx import save_model

from analyzer.write_all import read_result
from model_store.packaging import package
from model_store.request import PackageRequest
from tests.analyzer.colour_sets import files, write_folder
from tests.cli.test_commands import millrace
from tests.conftest import as_version, colour_network, quiet


@pytest.fixture
def store(colours, tmp_path):
    """``tints`` has a class that no dataset knows in place of blue; ``colours`` has all three."""
    (tmp_path / "labels.txt").write_text("red\ngreen\nteal\n", encoding="utf-8")
    save_model(colour_network(), str(tmp_path / "tints.onnx"))
    request = PackageRequest(
        source=tmp_path / "tints.onnx", name="tints", labels=tmp_path / "labels.txt",
        parity_images=write_folder(tmp_path / "parity", files(1)), scale=1 / 255,
    )  # fmt: skip
    package(request, tmp_path / "store", quiet)
    as_version(colours, 1, tmp_path / "store")
    return tmp_path / "store"


def judged(store, folder, candidate, champion, rules, *more):
    """Verdicts by rule, and what was printed."""
    (folder / "gate.yaml").write_text(rules, encoding="utf-8")
    ran = millrace(
        "analyze", "--store", store, "--device", "cpu", *(more or ["--no-speed"]),
        "--model", candidate, "--champion", champion,
        "--dataset", write_folder(folder / "set", files(8)),
        "--gate", folder / "gate.yaml", "--out", folder / "out", code=1,
    )  # fmt: skip
    return {one.rule: one for one in read_result(folder / "out/result.json").gate.verdicts}, ran


def test_a_candidate_is_not_blamed_for_the_champions_classes(store, tmp_path):
    """And that the two cannot be compared is a finding, and the reason of the rule."""
    rules = "{absolute: {data_findings: {}}, relative: {top1: {worse_by_at_most: 1}}}"
    found, ran = judged(store, tmp_path, "colours", "tints", rules)

    reason = "tints and colours cannot be compared: only one of them knows the class 'blue'"
    assert found["absolute.data_findings"].passed
    assert found["absolute.unknown_class"].passed
    assert not found["relative.top1"].passed
    assert f"not measured: {reason}; an endpoint's" in found["relative.top1"].text
    assert f"set: warning: {reason}" in ran.stdout
    assert "set: error: tints has no class called 'blue'" in ran.stdout


def test_a_candidate_without_a_class_of_the_dataset_fails(store, tmp_path):
    """Though it is right on every image that it can be judged by."""
    rules = "{absolute: {top1: {at_least: 0.7}}}"
    found, _ = judged(store, tmp_path, "tints", "colours", rules)

    assert found["absolute.top1"].passed
    assert (found["absolute.unknown_class"].passed, found["absolute.unknown_class"].figure) == (
        False,
        pytest.approx(1 / 3),
    )


def test_a_tail_that_a_gate_asks_for_is_bounded(store, tmp_path):
    """By as many batches as it takes, of a size that is timed for no other reason."""
    rules = "{absolute: {unknown_class: {at_most: 0}, p99: [{batch_size: 3, at_most_s: 1e-9}]}}"
    found, _ = judged(store, tmp_path, "colours", "tints", rules, "--timing-s", "600")

    assert found["absolute.p99"].bound is not None
    assert found["absolute.p99"].decided
    assert "400 batches of 3 on cpu" in found["absolute.p99"].text
