"""The client against ``millrace serve``, over every protocol it speaks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from loadgen.client import Client, run
from loadgen.form import PROTOCOLS
from loadgen.images import read_images
from loadgen.labels import with_labels
from loadgen.plan import Closed, Open, Plan
from model_store.package import ModelPackage
from tests.conftest import COLOURS, colour_image
from tests.end_to_end.conftest import Pod


@pytest.fixture(scope="module")
def pod(colours: ModelPackage, folder: Path) -> Iterator[Pod]:
    """One pod for these tests, which holds the images too."""
    flags = ("--frontends", "1", "--drain-delay-s", "0", "--preload", str(folder))
    running = Pod(colours.path, *flags)
    yield running
    running.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images for each colour, and one that is wrongly called blue."""
    root = tmp_path_factory.mktemp("colours")
    for colour in COLOURS:
        (root / colour).mkdir()
        (root / colour / "0.jpg").write_bytes(colour_image(colour))
    (root / "blue" / "not.png").write_bytes(colour_image("red", "PNG"))
    return root


def where(pod: Pod, protocol: str) -> str:
    """The endpoint that speaks it."""
    return pod.grpc if protocol == "grpc" else pod.http


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_gives_checked_answers_in_both_loops(pod, folder, protocol):
    """Three of four images are what their folder says."""
    images = with_labels(read_images([folder]), "folders")
    asked = Plan(
        (where(pod, protocol),),
        images,
        protocol=protocol,
        model="colours",
        warm_up_s=0,
        requests=40,
    )
    with Client(asked) as client:
        for load in (Closed(4), Open(200)):
            report = client.measure(load)

            assert report.total.requests == 40
            assert report.total.failed == 0, report.total.outcomes
            assert report.total.accuracy == 0.75
            assert set(report.total.wrong) == {(str(folder / "blue" / "not.png"), "red")}


@pytest.mark.parametrize("protocol", ["v2", "v2-json", "v1", "grpc"])
def test_batches_and_pixels_are_answered_too(pod, tmp_path, protocol):
    """Several images a request, encoded and as tensors."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :, 1] = 255
    (tmp_path / "green").mkdir()
    np.save(tmp_path / "green" / "pixels.npy", pixels)
    (tmp_path / "green" / "encoded.jpg").write_bytes(colour_image("green"))
    images = with_labels(read_images([tmp_path]), "folders")

    report = run(
        Plan(
            (where(pod, protocol),),
            images,
            Closed(2),
            protocol,
            "colours",
            images_per_request=3,
            warm_up_s=0,
            requests=10,
        )
    )

    assert report.total.failed == 0, report.total.outcomes
    assert (report.total.right, report.total.judged) == (30, 30)


def test_the_command_reports_what_the_pod_counts(pod, folder):
    """Model and protocol need not be named; the pod has seen as many requests."""
    command = [sys.executable, "-m", "millrace", "load", folder, "--endpoint", pod.url]
    flags = ["--requests", "30", "--warm-up", "0", "--labels", "folders", "--json", "-"]
    ran = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    (measurement,) = json.loads(ran.stdout)["measurements"]
    assert measurement["outcomes"] == {"200": 30}
    assert measurement["accuracy"] == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("protocol", ["v2", "v2-json", "grpc"])
def test_images_that_the_pod_holds_are_named_and_judged(pod, protocol):
    """Their folders there are their labels; without names it is all of them."""
    command = [sys.executable, "-m", "millrace", "load", "--by-ref", "--model", "colours"]
    names = ["red/0.jpg", "blue/0.jpg"] if protocol == "grpc" else []
    where_to = ["--endpoint", where(pod, protocol), "--protocol", protocol]
    flags = ["--requests", "40", "--warm-up", "0", "--labels", "folders", "--json", "-"]
    ran = subprocess.run(
        [*command, *names, *where_to, *flags], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    (measurement,) = json.loads(ran.stdout)["measurements"]
    assert measurement["failed"] == 0, measurement["outcomes"]
    assert measurement["accuracy"] == (1.0 if names else 0.75)


def test_an_unknown_model_is_refused_over_grpc_too(pod, folder):
    """With the server's words."""
    command = [sys.executable, "-m", "millrace", "load", folder, "--model", "other"]
    ran = subprocess.run(
        [*command, "--endpoint", f"grpc://{pod.grpc}"], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 2
    assert "has no model other" in ran.stderr
