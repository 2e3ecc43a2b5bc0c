"""tritonclient's four clients through real sockets, in the forms that people use them in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import COLOURS
from tests.end_to_end.conftest import TOKEN

TRITON_CLIENTS = ("http", "http.aio", "grpc", "grpc.aio")
EVERY_TENSOR = {"indices": "INT64", "scores": "FP32", "labels": "BYTES"}


class Said:
    """What one of tritonclient's clients was told, by question."""

    def __init__(self, client: str, url: str, *arguments: object) -> None:
        self.grpc = client.startswith("grpc")
        script = Path(__file__).with_name("clients") / "triton.py"
        command = [sys.executable, script, client, url, *arguments]
        ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120)
        self._answers = json.loads(ran.stdout)

    def __getitem__(self, question: str):
        answer = self._answers[question]
        failed = isinstance(answer, dict) and answer.get("failed")
        assert not failed, f"{question}: {failed}"
        return answer

    def status(self, http: str, grpc: str) -> str:
        """The status expected over this client's protocol."""
        return grpc if self.grpc else http


@pytest.fixture(scope="module", params=TRITON_CLIENTS)
def said(request, pod, folder) -> Said:
    """A conversation about inference by each of the four clients."""
    url = pod.grpc if request.param.startswith("grpc") else pod.http
    return Said(request.param, url, "infer", folder)


def test_triton_counts_are_exactly_what_was_sent(said):
    """Two requests of four images succeed and one fails; durations count requests."""
    durations = ("success", "queue", "compute_input", "compute_infer", "compute_output")
    expected = {"fail": 1, "inference_count": 4, "images in batches": 4}

    assert expected | dict.fromkeys(durations, 2) == said["statistics"]


def test_triton_finds_everything_ready(said):
    """Server live, server ready, model ready, and its version."""
    assert said["health"] == [True] * 4


def test_triton_finds_no_unknown_version_ready(said):
    """Over HTTP tritonclient says False to a 404; over gRPC it raises what it is told."""
    answer = said["unknown_version_ready"]

    assert said.status("OK", "NOT_FOUND") == answer["status"]
    assert said.status("False", "no version '9' of model 'colours' here") == answer["text"]


def test_triton_reads_the_server_metadata(said):
    """Name, version and the extensions that work; the repository is not among them here."""
    answer = said["server_metadata"]

    assert answer["name"] == "millrace"
    assert answer["version"]
    assert {"binary_tensor_data", "classification", "statistics"} <= set(answer["extensions"])
    assert "model_repository" not in answer["extensions"]


def test_triton_reads_the_model_metadata(said):
    """The first dimension is the batch's."""
    tensors = [["image", "BYTES", [-1, 1]]]
    tensors += [[name, datatype, [-1, 3]] for name, datatype in EVERY_TENSOR.items()]

    assert {"name": "colours", "versions": ["1"], "tensors": tensors} == said["model_metadata"]


def test_triton_reads_the_model_config(said):
    """It batches, so dimensions leave the batch's out."""
    tensors = [
        ["image", "TYPE_STRING", [1]],
        ["indices", "TYPE_INT64", [3]],
        ["scores", "TYPE_FP32", [3]],
        ["labels", "TYPE_STRING", [3]],
    ]

    assert {"name": "colours", "batches": True, "tensors": tensors} == said["model_config"]


def test_triton_sends_encoded_images(said):
    """BYTES [N] and [N,1]; all outputs come back with types and the best class first."""
    for answer in said["encoded_images"]:
        assert answer["ids"][1:] == ["colours", "1"]
        assert answer["datatypes"] == EVERY_TENSOR
        assert [row[0] for row in answer["outputs"]["labels"]] == list(COLOURS)
        assert [row[0] for row in answer["outputs"]["indices"]] == [0, 1, 2]
        assert all(row == sorted(row, reverse=True) for row in answer["outputs"]["scores"])


def test_triton_sends_pixels(said):
    """UINT8 and FP32 [N,H,W,3] get the same answers."""
    assert said["pixels"] == [["green", "blue"], ["green", "blue"]]


def test_triton_chooses_outputs(said):
    """Those asked for, in the order asked."""
    outputs = said["chosen_outputs"]

    assert list(outputs) == ["labels", "indices"]
    assert outputs["labels"][0][0] == "blue"
    assert outputs["indices"][0][0] == 2


def test_triton_asks_for_classes(said):
    """``score:index:label``, best first; asking for more than there are gives all."""
    two, many = said["classification"]

    assert [len(two[0]), len(many[0])] == [2, 3]
    for (first, *others), *_ in (two, many):
        assert re.fullmatch(r"0\.\d+:2:blue", first)
        assert all(re.fullmatch(r"[\d.e-]+:[01]:(red|green)", other) for other in others)


def test_triton_gets_its_id_back(said):
    """And one of the server's making where it gave none."""
    given, generated = said["ids"]

    assert given == ["forty-two", "colours", "1"]
    assert generated


def test_triton_states_a_priority(said):
    """Any is answered."""
    assert said["priority"] == [["green"], ["green"]]


def test_triton_is_answered_within_its_timeout(said):
    """An ample one changes nothing."""
    assert said["ample_timeout"] == ["green"]


def test_triton_is_told_of_a_timeout_that_cannot_be_met(said):
    """One microsecond: late, or too much to ask."""
    late = said.status("504", "DEADLINE_EXCEEDED")
    too_much = said.status("503", "RESOURCE_EXHAUSTED")

    assert said["hopeless_timeout"]["status"] in (late, too_much)


def test_triton_sends_parameters(said):
    """``top_k`` is obeyed; others, of whatever type, are ignored."""
    ((first, second),) = said["parameters"]

    assert first == 0
    assert second in (1, 2)


def test_triton_compresses(said):
    """Gzip and deflate, of requests and responses."""
    assert said["compression"] == [list(COLOURS)] * 2


def test_triton_asks_several_at_once(said):
    """Everybody gets the answer to their own request."""
    assert [[colour] for colour in COLOURS] == said["several_at_once"]


def test_triton_is_refused_what_does_not_exist(said):
    """Not found, with words that name it; also where only descriptions are asked."""
    refusals = said["refusals"]
    missing = said.status("404", "NOT_FOUND")

    for name in ("model", "metadata", "config", "statistics"):
        assert [missing, "no model 'nobody' here"] == list(refusals[name].values())
    assert refusals["version"]["status"] == missing
    assert "version '9'" in refusals["version"]["text"]


def test_triton_reads_long_refusals(said):
    """http.aio says that it takes gzip, and reads it in answers to inference only."""
    refusal = said["refusals"]["long name"]

    assert refusal["status"] == said.status("404", "NOT_FOUND")
    assert refusal["text"].startswith("no model 'nobodynobody")


def test_triton_is_refused_what_is_wrong(said):
    """An unknown output; a request with a bad image, whose place is named."""
    refusals = said["refusals"]
    invalid = said.status("400", "INVALID_ARGUMENT")

    assert [invalid, invalid] == [refusals[name]["status"] for name in ("output", "image")]
    assert "unknown output 'nobody'" in refusals["output"]["text"]
    assert refusals["image"]["text"].startswith("image 1: ")


def test_triton_is_refused_shared_memory(said):
    """An output that is looked for where it never comes would be worse."""
    invalid = said.status("400", "INVALID_ARGUMENT")

    for refusal in said["shared_memory"]:
        assert refusal["status"] == invalid
        assert "shared memory" in refusal["text"]


def test_triton_makes_and_reads_bodies_that_others_carry(said):
    """``generate_request_body`` and ``parse_response_body``; gRPC has no such thing."""
    assert said.status(["by hand", ["green"]], None) == said["body_by_hand"]


def test_triton_finds_the_repository_closed(said):
    """Index, load and unload are off without a token of the pod's."""
    assert len(said["closed_repository"]) == 3
    assert set(said["closed_repository"]) <= ({"UNAVAILABLE"} if said.grpc else {"404", "501"})


@pytest.mark.parametrize("client", TRITON_CLIENTS)
def test_triton_unloads_and_loads_the_model(guarded, folder, client):
    """With the token; without it, or with another, everything is refused."""
    url = guarded.grpc if client.startswith("grpc") else guarded.http
    said = Said(client, url, "repository", folder, TOKEN)
    answer = said["repository"]

    ready = [[["colours", "1", "READY"]], True]
    assert [said.status("401", "UNAUTHENTICATED")] * 4 == answer["refused"]
    assert said.status("404", "NOT_FOUND") == answer["unknown"]
    assert [ready, ready] == [answer["before"], answer["loaded"]]
    assert answer["unloaded"] == [[["colours", "1", "UNAVAILABLE"]], False]
    assert answer["infer"] in (("UNAVAILABLE", "NOT_FOUND") if said.grpc else ("404", "503"))
    assert answer["labels"] == ["red"]
