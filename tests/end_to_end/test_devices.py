"""Pods on devices of other kinds than the plain CPU's."""

from __future__ import annotations

import contextlib
import io
import threading

import httpx
import numpy as np
from PIL import Image

from examples.server import free_port
from predictor.runtimes.emulated import answers_of
from tests.conftest import colour_image
from tests.end_to_end.load import Load
from tests.end_to_end.test_faults import serve_and_fail

SIZE = 16


def noise(seed: int) -> tuple[np.ndarray, bytes]:
    """An image of the network's size, as pixels and as a PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return pixels, encoded.getvalue()


def test_everybody_gets_the_answer_to_their_own_image_from_unlike_devices(start, colours):
    """Forty clients at once, over a fast device and a slow one."""
    pod = start(colours, "--devices", "emulated:2+0.2,emulated:10+5", "--instances", "2")
    wrong: list[int] = []

    def ask(seed: int) -> None:
        pixels, encoded = noise(seed)
        expected = answers_of(pixels[np.newaxis], 3, 3).indices[0].tolist()
        with httpx.Client(base_url=pod.url) as client:
            for _ in range(10):
                answer = client.put("/v1/models/colours:predict", content=encoded).json()
                got = [entry["index"] for entry in answer["predictions"][0]["top"]]
                wrong.extend([seed] * (got != expected))

    clients = [threading.Thread(target=ask, args=(seed,)) for seed in range(40)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()

    assert wrong == []
    assert any("its answers are not the model's" in line for line in pod.log)
    groups = httpx.get(f"{pod.url}/v2/models/colours/config").json()["instance_group"]
    assert [(group["name"], group["count"]) for group in groups] == [("emulated", 2)]


def test_a_device_with_little_memory_runs_small_batches_and_loses_nothing(start, colours):
    """What is too much at warm-up is not tried again."""
    pod = start(colours, "--devices", "emulated:20+0.1+4", "--max-batch-size", "16")
    load = Load(f"{pod.url}/v1/models/colours:predict", colour_image("red"), clients=24)
    load.wait_for(200)

    assert set(load.stop()) == {200}
    sizes = httpx.get(f"{pod.url}/v2/models/colours/stats").json()["model_stats"][0]["batch_stats"]
    assert max(entry["batch_size"] for entry in sizes) == 4


def test_how_many_instances_there_are_is_measured_at_start(start, colours):
    """And said; a pod that was told nothing serves on what it found."""
    pod = start(colours, "--instances", "0", "--devices", "cpu")

    said = next(line for line in pod.log if "decode threads and" in line)
    assert f"and {len(pod.instances())} instances on" in said
    answer = httpx.put(f"{pod.url}/v1/models/colours:predict", content=colour_image("red"))
    assert answer.json()["predictions"][0]["label"] == "red"


def test_a_provider_that_is_not_installed_is_an_error(colours):
    """One line that names it and what there is; never the CPU instead."""
    said = serve_and_fail(colours.path, "--devices", "migraphx:0", "--http-port", "0")

    assert "has no MIGraphXExecutionProvider (it has " in said
    assert "CPUExecutionProvider" in said


def test_a_gpu_the_container_was_not_given_is_an_error(colours, monkeypatch):
    """Before anything is started."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    said = serve_and_fail(colours.path, "--devices", "cuda:0", "--http-port", "0")

    assert "cuda:0 is not there" in said


def test_a_pod_is_ready_with_all_its_instances_and_not_before(start, colours):
    """The second one takes a while to warm up; the first one would be there at once."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    metrics: list[str] = []

    def watch() -> None:
        while not metrics:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/v2/health/ready").status_code == 200:
                    metrics.append(httpx.get(f"{url}/metrics").text)

    watcher = threading.Thread(target=watch)
    watcher.start()
    devices = ["--devices", "emulated:1+0,emulated:200+0", "--max-batch-size", "1"]
    start(colours, *devices, "--instances", "2", "--http-port", str(port))
    watcher.join()

    up = [line for line in metrics[0].splitlines() if line.startswith("millrace_instance_up{")]
    assert [line.split()[-1] for line in up] == ["1.0", "1.0"]
