"""Triton's own load generator measures a pod, over both protocols and in every form it has."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest

from predictor.protocol.tensors import LENGTH
from tests.end_to_end.perf_analyzer import UnavailableError, installed
from tests.end_to_end.test_protocols import IMAGES, base64_text
from tests.end_to_end.watching import until

REQUESTS = 40
COUNTED = ("--request-count", REQUESTS)
WINDOWS = ("--measurement-interval", "1000", "--stability-percentage", "999", "--max-trials", "3")
SERVER_SIDE = (
    "Server Queue",
    "Server Compute Input",
    "Server Compute Infer",
    "Server Compute Output",
)
FORMS = {
    "http with a shape and a version": ("http", "--shape", "image:1", "-x", "1"),
    "grpc with a shape and a version": ("grpc", "--shape", "image:1", "-x", "1"),
    "http asynchronously": ("http", "--async", "--concurrency-range", "8"),
    "grpc asynchronously": ("grpc", "--async", "--concurrency-range", "8"),
    "http with JSON answers": ("http", "--output-tensor-format", "json"),
    "grpc compressed": ("grpc", "--grpc-compression-algorithm", "gzip"),
}


@pytest.fixture(scope="module")
def perf_analyzer():
    """The installed perf_analyzer; where it cannot be had, the tests are skipped and say why."""
    try:
        return installed()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """JPEGs as perf_analyzer reads them: the raw element with its length, in base64."""
    elements = [LENGTH.pack(len(image)) + image for image in IMAGES.values()]
    data = [{"image": {"b64": base64_text(element), "shape": [1]}} for element in elements]
    return input_data(tmp_path_factory, data)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """The same JPEGs as strings, which JSON can carry."""
    data = [{"image": {"content": [base64_text(image)], "shape": [1]}} for image in IMAGES.values()]
    return input_data(tmp_path_factory, data)


def input_data(tmp_path_factory, data):
    """The option that makes perf_analyzer send ``data``, one entry after the other."""
    file = tmp_path_factory.mktemp("perf_analyzer") / "data.json"
    file.write_text(json.dumps({"data": data}), encoding="utf-8")
    return ("--input-data", file)


def counts(pod):
    """Requests answered and images computed, by the pod's statistics."""
    stats = httpx.get(f"{pod.url}/v2/models/colours/stats").json()["model_stats"][0]
    return np.array([stats["inference_stats"]["success"]["count"], stats["inference_count"]])


def check(report):
    """There is throughput, and what the server spent in queue and compute is shown."""
    assert report.columns["Inferences/Second"] > 0
    assert [name for name in SERVER_SIDE if not report.columns[name] > 0] == [], report.text


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_perf_analyzer_measures_until_it_is_stable(pod, perf_analyzer, photos, protocol):
    """Its usual way: windows of time, of which the last three must be alike."""
    report = perf_analyzer.measure(pod, protocol, *photos, *WINDOWS)

    check(report)


@pytest.mark.parametrize("form", FORMS)
def test_perf_analyzer_sends_jpegs_in_every_form(pod, perf_analyzer, photos, form):
    """Of every request the pod counts one image."""
    before = counts(pod)

    report = perf_analyzer.measure(pod, *FORMS[form], *photos, *COUNTED)

    check(report)
    until(lambda: (counts(pod) - before).tolist() == [REQUESTS, REQUESTS])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_perf_analyzer_sends_several_images_in_a_request(pod, perf_analyzer, photos, protocol):
    """With ``-b 4``, images are counted four times as fast as requests."""
    before = counts(pod)

    report = perf_analyzer.measure(pod, protocol, "-b", "4", *photos, *COUNTED)

    check(report)
    until(lambda: (counts(pod) - before).tolist() == [REQUESTS, 4 * REQUESTS])


@pytest.mark.parametrize("answers", ["json", "binary"])
def test_perf_analyzer_sends_base64_in_json(pod, perf_analyzer, texts, answers):
    """JSON tensors, answered in either format."""
    formats = ("--input-tensor-format", "json", "--output-tensor-format", answers)

    report = perf_analyzer.measure(pod, "http", *formats, *texts, *COUNTED)

    check(report)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_perf_analyzer_sends_base64_as_strings(pod, perf_analyzer, texts, protocol):
    """Text in a BYTES tensor that is unmistakably base64 is taken as such."""
    report = perf_analyzer.measure(pod, protocol, *texts, *COUNTED)

    check(report)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_perf_analyzer_says_what_is_wrong_with_its_data(pod, perf_analyzer, protocol):
    """Its random strings are no images: it stops, with the pod's own words."""
    address = pod.http if protocol == "http" else pod.grpc

    ran = perf_analyzer.run("-m", "colours", "-i", protocol, "-u", address, *COUNTED)

    assert ran.returncode != 0
    assert "image 0: " in ran.stdout
