"""A running pod, asked over the wire."""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import closing

import numpy as np
import pytest

from analyzer import speed
from analyzer.endpoint import EndpointModel
from analyzer.endpoint_wire import HEADER_LENGTH, WireError, answers, request
from analyzer.errors import AnalyzerError
from analyzer.run import _Taking, run
from analyzer.run_analysis import Request, analyse
from analyzer.run_kept import Kept
from analyzer.run_model import no_answers
from predictor.settings import read_settings
from tests.analyzer.colour_sets import files, local, surveyed, write_folder
from tests.conftest import COLOURS, quiet
from tests.end_to_end.conftest import pod as pod


@pytest.fixture
def seen(tmp_path):
    """Some images, and two that are none."""
    broken = {"red/broken.png": b"none", "blue/empty.png": b""}
    return surveyed(write_folder(tmp_path / "set", files(40) | broken))


def test_a_pod_answers_as_its_package_does_here(pod, colours, seen, tmp_path):
    """A broken image is refused alone, though it came in a request with others."""
    model = EndpointModel("", f"{pod.url}/v2/models/colours")
    over_the_wire = run(model, seen, tmp_path / "wire", quiet).predictions
    here = run(local(colours), seen, tmp_path / "here", quiet).predictions
    model.close()

    assert over_the_wire.labels == COLOURS
    assert over_the_wire.indices.tolist() == here.indices.tolist()
    np.testing.assert_allclose(over_the_wire.scores, here.scores, atol=1e-5)
    assert over_the_wire.truth.tolist() == here.truth.tolist()
    assert [bool(error) for error in over_the_wire.errors] == [bool(error) for error in here.errors]
    assert over_the_wire.answered.sum() == 120


def test_what_a_pod_answered_is_kept_with_the_labels_that_were_learnt(pod, seen, tmp_path):
    """The second time it is not asked at all."""
    url = f"{pod.url}/v2/models/colours"
    with closing(EndpointModel("", url)) as model:
        first = run(model, seen, tmp_path, quiet)
    with closing(EndpointModel("", url)) as model:
        model._post = None
        second = run(model, seen, tmp_path, quiet)

    assert second.predictions.labels == first.predictions.labels == COLOURS
    assert second.predictions.errors == first.predictions.errors
    assert second.predictions.truth.tolist() == first.predictions.truth.tolist()


def test_a_pod_says_which_stage_limits_it(pod, seen, tmp_path):
    """All seven, as its own page has them."""
    model = EndpointModel("", f"{pod.url}/v2/models/colours/versions/1")
    run(model, seen, tmp_path, quiet)
    found = speed.of_pod(model.stages())
    model.close()

    assert found is not None
    assert [stage.stage for stage in found.stages] == [
        "receive", "decode", "queue", "copy", "infer", "collect", "respond",
    ]  # fmt: skip
    assert found.bottleneck in {stage.stage for stage in found.stages if stage.capacity}
    assert speed.of_pod({}) is None
    assert model.facts().version == "1"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/models/nobody", "nobody"),
        ("", "name the model as"),
        ("/v1/models/colours", "name the"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(pod, path, words):
    """Before anything is read."""
    with pytest.raises(AnalyzerError, match=words):
        EndpointModel("", pod.url + path)


def test_an_endpoint_that_is_not_there_is_refused(tmp_path):
    """At once."""
    with pytest.raises(AnalyzerError, match="cannot be asked"):
        EndpointModel("", "http://127.0.0.1:9/v2/models/colours")


class Flaky(http.server.BaseHTTPRequestHandler):
    """Refuses every other request for want of room, like a pod under load."""

    protocol_version = "HTTP/1.1"
    asked = 0
    refused = 0
    never = False
    failing = False
    fail_first = 0

    def do_GET(self):
        """What it says of itself."""
        self.reply(
            200,
            json.dumps(
                {
                    "name": "m", "versions": ["9", "10"], "max_batch_size": 4,
                    "outputs": [{"name": "indices", "shape": [-1, 1]}],
                }
            ).encode(),
        )  # fmt: skip

    def do_POST(self):
        """An answer, or none."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = json.loads(body[: int(self.headers[HEADER_LENGTH])])
        count = head["inputs"][0]["shape"][0]
        if self.failing or type(self).fail_first:
            type(self).fail_first = max(0, type(self).fail_first - 1)
            self.reply(500, b'{"error": "out of memory"}')
            return
        type(self).asked += 1
        if self.never or type(self).asked % 2:
            type(self).refused += 1
            self.reply(503, b'{"error": "full"}')
            return
        outputs = [
            {"name": "indices", "datatype": "INT64", "shape": [count, 1], "data": [2] * count},
            {"name": "scores", "datatype": "FP32", "shape": [count, 1], "data": [0.5] * count},
            {"name": "labels", "datatype": "BYTES", "shape": [count, 1], "data": ["c"] * count},
        ]
        self.reply(200, json.dumps({"outputs": outputs}).encode())

    def reply(self, code, body):
        """Send it."""
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def flaky():
    """Such a server, and its address."""

    class Fresh(Flaky):
        pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Fresh, f"http://127.0.0.1:{server.server_address[1]}/v2/models/m"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_endpoint_that_has_no_room_is_asked_again(flaky, tmp_path):
    """And labels that no answer has had are called by their numbers."""
    server, url = flaky
    seen = surveyed(write_folder(tmp_path / "set", files(4)))
    model = EndpointModel("", url)

    said = run(model, seen, tmp_path / "kept", quiet).predictions
    model.close()

    assert server.refused > 0
    assert said.answered.all()
    assert said.labels == ("class 0", "class 1", "c")
    assert model.facts().version == "10"


def test_an_endpoint_that_never_has_room_ends_it_and_what_it_said_is_kept(
    flaky, tmp_path, monkeypatch
):
    """In one line."""
    server, url = flaky
    server.never = True
    monkeypatch.setattr("analyzer.endpoint.TRIES", 2)
    model = EndpointModel("", url)

    with pytest.raises(AnalyzerError, match="503: full"):
        run(model, surveyed(write_folder(tmp_path / "set", files(4))), tmp_path / "kept", quiet)
    model.close()


def test_groups_need_only_the_labels_that_an_endpoint_has_named(flaky, tmp_path):
    """An analysis with a hierarchy goes through; others' names are no placeholder's business."""
    groups = tmp_path / "groups.csv"
    groups.write_text("label,kind\nc,letter\n", encoding="utf-8")
    pixels = files(1)["red/0000.png"]
    folder = write_folder(tmp_path / "set", {"c/1.png": pixels, "d/2.png": pixels[:-1]})

    found = analyse(
        Request(
            models=(flaky[1],), datasets=(str(folder),), out=tmp_path / "out",
            settings=read_settings(), device="cpu", hierarchy=groups, speed=False,
        ),
        quiet,
    )  # fmt: skip

    (evaluation,) = found.result.evaluations
    assert evaluation.accuracy.hierarchy.accuracy_by_level == (1.0,)


def test_the_classes_that_no_answer_named_are_told(flaky, tmp_path):
    """A file of groups need not have them."""
    with closing(EndpointModel("", flaky[1])) as model:
        run(model, surveyed(write_folder(tmp_path / "set", files(1))), tmp_path / "kept", quiet)

        assert model.labels == ("class 0", "class 1", "c")
        assert model.nameless == ("class 0", "class 1")


def test_given_labels_are_used_instead_of_learnt_ones(flaky):
    """Of classes too that are never answered."""
    model = EndpointModel("", flaky[1], ("a", "b", "c", "d"))

    assert model.labels == ("a", "b", "c", "d")
    model.close()


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"", None),
        (b"{}", None),
        (b'{"outputs": []}', "15"),
        (b'{"outputs": 3}', "many"),
        (json.dumps({"outputs": [
            {"name": "indices", "shape": [1, 1], "parameters": {"binary_data_size": 8}},
            {"name": "scores", "shape": [1, 1], "data": [0.5]},
            {"name": "labels", "shape": [1, 1], "data": ["a"]}]}).encode(), None),
        (json.dumps({"outputs": [
            {"name": "indices", "shape": [2, 1], "data": [1, 1]},
            {"name": "scores", "shape": [2, 1], "data": [0.5, 0.5]},
            {"name": "labels", "shape": [2, 1], "data": ["a", "a"]}]}).encode(), None),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_told_from_one(body, length):
    """Whatever a server sends."""
    with pytest.raises(WireError):
        answers(body, length, 1)


def test_a_request_is_the_binary_form():
    """Each image behind its length."""
    body, headers = request([b"ab", b"c"])

    length = int(headers[HEADER_LENGTH])
    assert body[length:] == b"\x02\x00\x00\x00ab\x01\x00\x00\x00c"
    assert json.loads(body[:length])["inputs"][0]["shape"] == [2]


def test_a_server_that_fails_on_everything_ends_it(flaky, tmp_path):
    """And is asked again by the next run, which may find it healed."""
    server, url = flaky
    server.failing = True
    seen = surveyed(write_folder(tmp_path / "set", files(20)))
    with (
        closing(EndpointModel("", url)) as model,
        pytest.raises(AnalyzerError, match="fails on every image, 32 in a row: 500: out of memory"),
    ):
        run(model, seen, tmp_path / "kept", quiet)

    server.failing = False
    with closing(EndpointModel("", url)) as model:
        assert run(model, seen, tmp_path / "kept", quiet).predictions.answered.all()


def test_a_server_that_fails_on_all_of_few_images_is_no_result(flaky, tmp_path):
    """Though they were too few to stop before."""
    server, url = flaky
    server.failing = True
    seen = surveyed(write_folder(tmp_path / "set", files(2)))

    with (
        closing(EndpointModel("", url)) as model,
        pytest.raises(AnalyzerError, match="m on set: answers none of 6 images: out of memory"),
    ):
        run(model, seen, tmp_path / "kept", quiet)


def test_an_image_that_a_server_failed_on_is_asked_again_the_next_time(flaky, tmp_path):
    """An error for now, in the run that met it."""
    server, url = flaky
    seen = surveyed(write_folder(tmp_path / "set", files(4)))
    server.fail_first = 4  # all twelve, six, three, and the first of those
    with closing(EndpointModel("", url)) as model:
        model._images = 12
        first = run(model, seen, tmp_path / "kept", quiet).predictions
        second = run(model, seen, tmp_path / "kept", quiet).predictions

    assert 0 < sum(map(bool, first.errors)) < 12
    assert second.answered.all()


def test_answers_are_never_kept_without_their_labels(flaky, tmp_path):
    """Whenever a run ends."""
    seen = surveyed(write_folder(tmp_path / "set", files(4)))
    with (
        closing(EndpointModel("", flaky[1])) as model,
        Kept(tmp_path / "kept", model.identity, seen.digest, 12, 1) as kept,
    ):
        found = no_answers([0], 1, {})
        found.indices[:] = 2
        model.learn({2: "c"})
        _Taking(model, kept, 0).take(found)
        facts = json.loads((kept.folder / "facts.json").read_text(encoding="utf-8"))

    assert facts["labels"] == [[2, "c"]]


def test_answers_whose_labels_are_lost_are_asked_for_again(flaky, tmp_path):
    """As after a kill in an earlier version, or with a damaged file."""
    seen = surveyed(write_folder(tmp_path / "set", files(4)))
    with closing(EndpointModel("", flaky[1])) as model:
        run(model, seen, tmp_path / "kept", quiet)
    (facts,) = (tmp_path / "kept").glob("*/facts.json")
    facts.write_text("{")
    with closing(EndpointModel("", flaky[1])) as model:
        again = run(model, seen, tmp_path / "kept", quiet).predictions

    assert again.labels == ("class 0", "class 1", "c")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("a", "b"), "answers class 2, 'c', and --labels names 2 classes"),
        (("c", "b", "a"), "class 2 is 'c' in answers and 'a' in --labels"),
    ],
)
@pytest.mark.parametrize("kept_before", [False, True])
def test_given_labels_that_are_not_the_models_are_refused(
    flaky, tmp_path, labels, words, kept_before
):
    """Also where all answers were kept before."""
    seen = surveyed(write_folder(tmp_path / "set", files(2)))
    if kept_before:
        with closing(EndpointModel("", flaky[1])) as model:
            run(model, seen, tmp_path / "kept", quiet)

    with closing(EndpointModel("", flaky[1], labels)) as model, pytest.raises(AnalyzerError) as no:
        run(model, seen, tmp_path / "kept", quiet)

    assert words in str(no.value)
