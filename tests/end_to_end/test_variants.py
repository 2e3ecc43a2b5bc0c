"""A package with several variants, served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from model_store.package import GoldenAnswer, Variant, write_manifest
from model_store.packaging import PackageRequest, package
from tests.conftest import COLOUR_SIZE, COLOURS, as_version, colour_image, quiet
from tests.end_to_end.conftest import Pod
from tests.end_to_end.load import Load
from tests.model_store.torch_networks import Colours

TOKEN = "open sesame"


def weighted_network() -> onnx.ModelProto:
    """The colour network with a convolution, so that there is something to quantise."""
    weight = np.zeros((3, 3, 1, 1), np.float32)
    weight[range(3), range(3)] = 10
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["scaled"]),
        helper.make_node("GlobalAveragePool", ["scaled"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"], axis=1),
    ]
    shape = ["batch", 3, COLOUR_SIZE, COLOUR_SIZE]
    graph = helper.make_graph(
        nodes,
        "weighted",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    """A package with fp32, fp16 and int8."""
    folder = tmp_path_factory.mktemp("varied")
    (folder / "labels.txt").write_text("\n".join(COLOURS) + "\n", encoding="utf-8")
    for name in ("parity", "typical"):
        (folder / name).mkdir()
    for colour in COLOURS:
        (folder / "parity" / f"{colour}.jpg").write_bytes(colour_image(colour))
        for width in (20, 30, 50, 60):
            encoded = colour_image(colour, size=(width, 40))
            (folder / "typical" / f"{colour}{width}.jpg").write_bytes(encoded)
    onnx.save_model(weighted_network(), str(folder / "weighted.onnx"))
    request = PackageRequest(
        source=folder / "weighted.onnx",
        name="varied",
        labels=folder / "labels.txt",
        parity_images=folder / "parity",
        scale=1 / 255,
        variants=("fp32", "fp16", "int8"),
        calibration_images=folder / "typical",
    )
    return package(request, folder / "store", quiet)


def labels_and_file(pod: Pod) -> tuple[list[str], str]:
    """What it answers to an image of each colour, and the variant that it says it serves."""
    named = []
    for colour in COLOURS:
        answer = httpx.post(
            f"{pod.url}/v1/models/varied:predict",
            content=colour_image(colour),
            headers={"Content-Type": "image/jpeg"},
        )
        named.append(answer.json()["predictions"][0]["label"])
    config = httpx.get(f"{pod.url}/v2/models/varied/config").json()
    return named, config["default_model_filename"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_variant_is_served_by_name(varied, start, precision):
    """It answers right, and the configuration tells which one it is."""
    pod = start(varied, "--variant", precision, "--drain-delay-s", "0")
    assert labels_and_file(pod) == (list(COLOURS), f"{precision}.onnx")


def test_auto_serves_one_variant_on_all_instances_and_says_which(varied, start, tmp_path):
    """Each says so in the log when it is ready."""
    first, *others = varied.manifest.variants
    package = as_version(varied, 1, tmp_path, variants=(first, *map(fast, others)))
    pod = start(package, "--instances", "2", "--drain-delay-s", "0")
    named, file = labels_and_file(pod)
    assert named == list(COLOURS)
    ready = [line for line in pod.log if "ready: " in line]
    assert len(ready) == 2
    assert all(line.rstrip().endswith(f"by {file}") for line in ready)
    assert sum("of those measured here" in line for line in pod.log) == 2


def fast(variant: Variant) -> Variant:
    """The same, as if it had been faster than the first one where it was packaged."""
    measured = variant.proof.measured.model_copy(update={"times_the_first": {1: 1.2}})
    return variant.model_copy(
        update={"proof": variant.proof.model_copy(update={"measured": measured})}
    )


def test_variant_that_answers_otherwise_here_is_left_out(varied, start, tmp_path):
    """As 8 bits may on another CPU: the pod serves what gives its golden answers."""
    first, _, eight = varied.manifest.variants
    wrong = tuple(
        GoldenAnswer(indices=answer.indices[::-1], scores=answer.scores) for answer in eight.golden
    )
    damaged = fast(eight).model_copy(update={"golden": wrong})
    pod = start(as_version(varied, 1, tmp_path, variants=(first, damaged)), "--drain-delay-s", "0")
    assert labels_and_file(pod) == (list(COLOURS), "fp32.onnx")
    assert sum("int8.onnx is left out: " in line for line in pod.log) >= 1


def load(pod: Pod, version: int) -> httpx.Response:
    """Have the pod load another version."""
    return httpx.post(
        f"{pod.url}/v2/repository/models/varied/load",
        headers={"Authorization": f"Bearer {TOKEN}"},
        json={"parameters": {"version": str(version)}},
        timeout=60,
    )


def test_a_new_version_chooses_its_own_variant_under_load(varied, start, tmp_path):
    """The one it had is not there any more; nobody gets an error meanwhile."""
    first, second = (as_version(varied, number, tmp_path) for number in (1, 2))
    alone = second.manifest.variants[:1]
    write_manifest(second.path, second.manifest.model_copy(update={"variants": alone}))
    pod = start(first, "--repository-token", TOKEN, "--drain-delay-s", "0")
    requests = Load(f"{pod.url}/v1/models/varied:predict", colour_image("red"), clients=4)
    requests.wait_for(20)
    assert load(pod, 2).status_code == 200
    assert labels_and_file(pod) == (list(COLOURS), "fp32.onnx")
    assert set(requests.stop()) == {200}


def test_a_version_without_the_variant_that_is_forced_is_not_loaded(varied, start, tmp_path):
    """What was served goes on, and the answer says what there is."""
    first, second = (as_version(varied, number, tmp_path) for number in (1, 2))
    alone = second.manifest.variants[:1]
    write_manifest(second.path, second.manifest.model_copy(update={"variants": alone}))
    pod = start(first, "--variant", "int8", "--repository-token", TOKEN, "--drain-delay-s", "0")
    refused = load(pod, 2)
    assert refused.status_code >= 400
    assert "has no 'int8'; there: fp32 (fp32.onnx)" in refused.json()["error"]
    assert labels_and_file(pod) == (list(COLOURS), "int8.onnx")


@pytest.fixture(scope="module")
def both_runtimes(varied, tmp_path_factory):
    """A package of a PyTorch network: ONNX and a program."""
    folder = varied.path.parents[2]
    torch.save(Colours().state_dict(), folder / "colours.pt")
    request = PackageRequest(
        source=Path("tests.model_store.torch_networks:Colours"),
        checkpoint=folder / "colours.pt",
        name="varied",
        labels=folder / "labels.txt",
        parity_images=folder / "parity",
        input_size=(COLOUR_SIZE, COLOUR_SIZE),
        scale=1 / 255,
    )
    return package(request, tmp_path_factory.mktemp("both"), quiet)


def test_a_program_is_served_by_name(both_runtimes, start):
    """By the torch runtime, with the answers of the ONNX variant."""
    pod = start(both_runtimes, "--variant", "pt2", "--drain-delay-s", "0")
    assert labels_and_file(pod) == (list(COLOURS), "model.pt2")


def test_auto_chooses_among_runtimes(both_runtimes, start, tmp_path):
    """Both are measured where both were fast, and the log says how fast each is."""
    first, program = both_runtimes.manifest.variants
    package = as_version(both_runtimes, 1, tmp_path, variants=(first, fast(program)))
    pod = start(package, "--instances", "1", "--drain-delay-s", "0")
    assert labels_and_file(pod)[0] == list(COLOURS)
    (line,) = [line for line in pod.log if "of those measured here" in line]
    assert "fp32.onnx " in line
    assert "model.pt2 " in line


def test_an_unknown_variant_is_refused_with_those_there_are(varied):
    """Exit code 2, and one line besides the log."""
    command = [sys.executable, "-m", "millrace", "serve", str(varied.path), "--variant", "int4"]
    ports = ["--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "0", "--instances", "1"]
    ended = subprocess.run([*command, *ports], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("millrace: ")]
    assert "has no 'int4'; there: fp32 (fp32.onnx), fp16 (fp16.onnx), int8 (int8.onnx)" in line
