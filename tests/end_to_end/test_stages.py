"""The stage that is made to starve is the one that a pod names."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import io
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.slow_reader import SlowReader
from predictor.capacity import STAGES
from tests.conftest import COLOUR_SIZE
from tests.end_to_end.conftest import Pod

LOAD_S = 40  # by then a pod must have named it


def stages(pod: Pod) -> dict[str, Any]:
    """What the pod says of its stages."""
    with urllib.request.urlopen(f"{pod.url}/v2/models/colours/stages") as response:
        content: dict[str, Any] = json.load(response)
    return content


def request(body: bytes, header_length: int | None, more: str = "") -> bytes:
    """A whole v2 request."""
    length = f"Inference-Header-Content-Length: {header_length}\r\n" if header_length else ""
    return (
        f"POST /v2/models/colours/infer HTTP/1.1\r\nHost: pod\r\n{length}{more}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def pixels(images: int, side: int) -> bytes:
    """A request of images that need no decoding, or, if they are larger than the network's, do."""
    tensor = np.zeros((images, side, side, 3), np.uint8).tobytes()
    shape = [images, side, side, 3]
    entry = {
        "name": "image",
        "shape": shape,
        "datatype": "UINT8",
        "parameters": {"binary_data_size": len(tensor)},
    }
    header = json.dumps({"inputs": [entry]}).encode()
    return request(header + tensor, len(header))


def photo(side: int) -> bytes:
    """A request of one large JPEG, of noise, which is slow to decode."""
    noise = np.random.default_rng(1).integers(0, 255, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    image = file.getvalue()
    entry = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(image) + 4},
    }
    header = json.dumps({"inputs": [entry]}).encode()
    return request(header + len(image).to_bytes(4, "little") + image, len(header))


def inferences(pod: Pod) -> int:
    """Images computed since the pod's start."""
    with urllib.request.urlopen(f"{pod.url}/v2/models/colours/stats") as response:
        return int(json.load(response)["model_stats"][0]["inference_count"])


@contextlib.contextmanager
def load(pod: Pod, sent: bytes, clients: int) -> Iterator[None]:
    """So many clients, each of which sends the next one when the one before it is answered."""
    host, port = pod.http.split(":")
    stop = threading.Event()

    def ask() -> None:
        with socket.create_connection((host, int(port))) as connection:
            while not stop.is_set():
                connection.sendall(sent)
                response = http.client.HTTPResponse(connection)
                response.begin()
                response.read()

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask) for _ in range(clients)]
        try:
            yield
        finally:
            stop.set()
    for each in asking:
        each.result()


def named(pod: Pod, stage: str | None) -> dict[str, Any]:
    """What the pod says once it names that stage; fails if it goes on naming another."""
    until = time.monotonic() + LOAD_S
    while (said := stages(pod))["bottleneck"] != stage:
        assert time.monotonic() < until, said
        time.sleep(0.5)
    return said


def test_a_pod_that_has_done_nothing_names_no_stage(start, colours):
    """But knows its workers, and what its devices could do."""
    pod = start(colours, "--devices", "emulated:5+1", "--max-queue-size", "99")
    said = named(pod, None)

    assert (said["bottleneck"], said["advice"], said["images_per_second"]) == (None, "", 0)
    assert tuple(stage["name"] for stage in said["stages"]) == STAGES
    assert said["stages"][4]["capacity"] > 0
    assert said["queue"] == {"slots": 99, "taken": 0, "coming": 0}
    assert [(each["device"], each["up"]) for each in said["instances"]] == [("emulated:0", True)]


def test_one_decode_thread_makes_it_decode(start, colours):
    """Large JPEGs of noise, on a device that takes no time; more threads are what helps."""
    pod = start(colours, "--devices", "emulated:0.1+0.1", "--decode-threads", "1")
    with load(pod, photo(1500), clients=4):
        said = named(pod, "decode")

    assert said["advice"].startswith("decode limits: ")
    assert said["stages"][1]["worker"] == "decode thread"
    assert said["stages"][1]["workers"] == 1


def test_a_slow_device_makes_it_infer(start, colours):
    """Ten images a second, in batches of one."""
    pod = start(colours, "--devices", "emulated:50+50", "--max-batch-size", "1")
    with load(pod, pixels(1, COLOUR_SIZE), clients=4):
        said = named(pod, "infer")

    assert said["capacity"] == pytest.approx(10, rel=0.1)
    assert "on 1 instance" in said["advice"]


def test_few_slots_make_it_queue(start, colours):
    """A device for batches of 64 that gets no more than one image at a time."""
    pod = start(
        colours, "--devices", "emulated:20+0.1", "--max-batch-size", "64", "--max-queue-size", "2"
    )
    with load(pod, pixels(1, COLOUR_SIZE), clients=2):
        said = named(pod, "queue")

    assert "max_queue_size" in said["advice"]
    assert said["stages"][4]["capacity"] > 2 * said["capacity"]


def test_slow_readers_make_it_respond(start, colours):
    """Their answers pile up in their connections, and the pod waits until they are taken."""
    pod = start(colours, "--devices", "emulated:0.1+0.01")
    sent = pixels(64, COLOUR_SIZE)
    port = int(pod.http.split(":")[1])
    with SlowReader(port, sent, 200_000), SlowReader(port, sent, 200_000):
        said = named(pod, "respond")

    assert said["stages"][6]["worker"] == "connection"
    assert "clients take their answers too slowly" in said["advice"]


def test_many_small_requests_make_it_the_event_loop(start, colours):
    """Pixels that only need copying, on devices that take no time."""
    pod = start(colours, "--devices", "emulated:0.1+0.001")
    with load(pod, pixels(1, COLOUR_SIZE), clients=8):
        said = named(pod, "receive")

    assert said["stages"][0]["worker"] == "event loop"


def test_every_frontend_says_the_same_and_a_killed_one_loses_nothing(start, colours):
    """Counts are in memory that outlives it."""
    pod = start(colours, "--devices", "emulated:0.1+0.1", "--frontends", "2")
    with load(pod, pixels(1, COLOUR_SIZE), clients=8):
        named(pod, "receive")
    time.sleep(1.5)  # until all of it has been looked at
    before = stages(pod)
    counted = inferences(pod)
    pod.frontends()[0].kill()
    assert before["bottleneck"] == "receive"
    assert counted > 100

    until = time.monotonic() + LOAD_S
    in_a_row = 0  # on connections of their own, which either of them takes
    while in_a_row < 8 or len(pod.frontends()) < 2:
        assert time.monotonic() < until, stages(pod)
        same = stages(pod)["bottleneck"] == "receive"  # a new one knows of no instance at first
        in_a_row = in_a_row + 1 if same else 0
        assert inferences(pod) == counted


def test_a_client_that_takes_nothing_is_not_what_limits_the_others(start, colours):
    """Its answers lie there for as long as it likes; theirs are taken at once."""
    pod = start(colours, "--devices", "emulated:50+50", "--max-batch-size", "1")
    host, port = pod.http.split(":")
    with socket.create_connection((host, int(port))) as stuck:
        stuck.settimeout(1)
        with contextlib.suppress(TimeoutError):  # once the pod reads no more either
            stuck.sendall(pixels(1, COLOUR_SIZE) * 3000)
        with load(pod, pixels(1, COLOUR_SIZE), clients=2):
            said = named(pod, "infer")

    assert said["stages"][6]["worker"] == "event loop"


def test_a_pod_without_instances_says_so(start, colours):
    """The only one stands still; what it did before is no capacity now."""
    pod = start(colours, "--devices", "emulated:0.1+0.1")
    with load(pod, pixels(1, COLOUR_SIZE), clients=8):
        named(pod, "receive")
    pod.instances()[0].suspend()  # until the pod kills it
    said = named(pod, "infer")

    assert (said["capacity"], said["headroom"]) == (0, 0)
    assert said["advice"] == "infer limits: no instance takes work at the moment"


def test_prometheus_is_told_as_well(start, colours):
    """Each stage's capacity, and a 1 for the one that limits."""
    pod = start(colours, "--devices", "emulated:50+50", "--max-batch-size", "1")
    with load(pod, pixels(1, COLOUR_SIZE), clients=4):
        named(pod, "infer")
        with urllib.request.urlopen(f"{pod.url}/metrics") as response:
            metrics = response.read().decode()

    assert 'millrace_bottleneck{model="colours",stage="infer"} 1.0' in metrics
    assert 'millrace_bottleneck{model="colours",stage="decode"} 0.0' in metrics
    assert 'millrace_stage_capacity{model="colours",stage="infer"} ' in metrics


def test_top_shows_what_a_pod_says(start, colours):
    """Once, as plain text, where nobody looks at a terminal."""
    pod = start(colours, "--devices", "emulated:50+50", "--max-batch-size", "1")
    with load(pod, pixels(1, COLOUR_SIZE), clients=4):
        named(pod, "infer")
        command = [sys.executable, "-m", "millrace", "top", "--once", "--url", pod.url]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "infer limits: " in ran.stdout
    for stage in (
        "receive",
        "decode",
        "queue",
        "copy",
        "infer",
        "collect",
        "respond",
        "emulated:0",
    ):
        assert stage in ran.stdout
