"""Pods whose stages are made to starve in turn: what they said they could do, and what they did.

A stage's capacity is read while another stage limits, and then the stage is made the limit.
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.idle_network import idle_model
from benchmarks.load import run_wrk
from benchmarks.models import MODELS, Model, package
from benchmarks.payloads import v2_binary, v2_noise
from benchmarks.servers import Running, millrace
from benchmarks.slow_reader import SlowReader

FOLDER = Path("var/bench-stages")
WARM_UP_S = 2
SETTLE_S = 1.2  # until a pod has looked at its counts once more
FILL_S = 15.0  # until the buffers between a pod and a slow reader are full
SMALL, LARGE = 32, 224  # pixels, height and width
READ_BYTES_PER_S = 250_000
LOOKS = 40  # at what is answered in bursts, whenever there is room in buffers again
FEW_SLOTS = 8


@dataclass(frozen=True, slots=True)
class Situation:
    """A pod and its load."""

    model: Model
    settings: tuple[str, ...]
    requests: tuple[Path, ...]
    images: int  # of a request
    connections: int


@dataclass(frozen=True, slots=True)
class Case:
    """A stage, a pod that another one limits, and the same with this one as its limit."""

    stage: str
    title: str
    before: Situation
    starved: Situation


@dataclass(frozen=True, slots=True)
class Starved:
    """What came of a case, in images per second."""

    case: Case
    predicted: float  # of the stage, while another one limited
    limit_before: str
    reported: float  # of the stage, while it limited
    named: str  # the stage that the pod named then
    advice: str
    actual: float  # answered


@dataclass(frozen=True, slots=True)
class Pods:
    """The models that are served, and the requests for them."""

    small: Model
    large: Model
    photos: Model
    pixels: Path
    pictures: tuple[Path, ...]

    @classmethod
    def prepare(cls, assets: Path) -> Pods:
        """Package the models and write the requests."""
        like = MODELS["mobilenet_v2"]
        small, large = (idle_model(like, size, FOLDER) for size in (SMALL, LARGE))
        photos = replace(like, frontends=1, instances=2)
        for model in (small, large, photos):
            package(model, assets, FOLDER / "store")
        pixels = FOLDER / "pixels.request"
        pixels.write_bytes(v2_noise(small.name, 1, SMALL, seed=1))
        return cls(small, large, photos, pixels, _pictures(large, assets))

    def cases(self, assets: Path) -> list[Case]:
        """Each stage that two cores can starve."""
        few = ("--max-queue-size", str(FEW_SLOTS))
        own = _pictures(self.photos, assets)
        return [
            Case(
                "receive",
                "one event loop, small images of pixels",
                Situation(self.small, devices("2+0.2"), (self.pixels,), 1, 64),
                Situation(self.small, devices("0.1+0.005"), (self.pixels,), 1, 64),
            ),
            Case(
                "decode",
                "photos, one decode thread",
                Situation(self.large, (*devices("20+10"), *ONE_DECODER), self.pictures, 1, 16),
                Situation(self.large, (*devices("1+0.2"), *ONE_DECODER), self.pictures, 1, 16),
            ),
            Case(
                "queue",
                f"{FEW_SLOTS} slots for a device that is best at batches of 64",
                Situation(self.small, (*devices("20+0.1"), *few), (self.pixels,), 1, 1),
                Situation(self.small, (*devices("20+0.1"), *few), (self.pixels,), 1, FEW_SLOTS),
            ),
            Case(
                "infer",
                "a device of 5 ms a batch and 1 ms an image",
                Situation(self.small, devices("5+1"), (self.pixels,), 1, 2),
                Situation(self.small, devices("5+1"), (self.pixels,), 1, 192),
            ),
            Case(
                "infer",
                "MobileNetV2 on the cores that decode as well",
                Situation(self.photos, (), own, 1, 1),
                Situation(self.photos, (), own, 1, 32),
            ),
        ]


ONE_DECODER = ("--decode-threads", "1")


def devices(cost: str) -> tuple[str, ...]:
    """An emulated device as a setting."""
    return ("--devices", f"emulated:{cost}")


def starve(case: Case, seconds: int, say: Callable[[str], None]) -> Starved:
    """Read the stage's capacity, then make it the limit."""
    before, _ = _stages_under(case.before, seconds)
    then, actual = _stages_under(case.starved, seconds)
    predicted, reported = (_capacity(each, case.stage) for each in (before, then))
    say(f"{case.stage}: {predicted:,.0f} predicted, {actual:,.0f} done")
    return Starved(
        case,
        predicted,
        str(before["bottleneck"]),
        reported,
        str(then["bottleneck"]),
        str(then["advice"]),
        actual,
    )


def slow_readers(pods: Pods, say: Callable[[str], None]) -> tuple[float, float, str]:
    """Two clients that are slow to take their answers, which the kernel keeps megabytes of.

    Returns:
        Images per second that the pod said it could answer, that it did, and the stage it named.
    """
    images = 64
    request = v2_noise(pods.small.name, images, SMALL, seed=2)
    with _serve(pods.small, devices("0.1+0.01")) as running:
        readers = [SlowReader(running.http_port, request, READ_BYTES_PER_S) for _ in range(2)]
        with readers[0], readers[1]:
            time.sleep(FILL_S)
            done, began = _answered(running, pods.small.name), time.monotonic()
            capacities = []
            for _ in range(LOOKS):
                time.sleep(1)
                said = stages(running, pods.small.name)
                capacities.append(float(said["capacity"]))
            seconds = time.monotonic() - began
            actual = (_answered(running, pods.small.name) - done) / seconds
    capacity = statistics.mean(capacities)
    say(f"respond: {capacity:,.0f} said, {actual:,.0f} done")
    return capacity, actual, str(said["bottleneck"])


def stages(running: Running, model: str) -> dict[str, Any]:
    """What a pod says of its stages."""
    return _get(running, f"/v2/models/{model}/stages")


def _capacity(said: dict[str, Any], stage: str) -> float:
    """Of a stage on cores that are short: what those allow for."""
    own = float(next(each["capacity"] for each in said["stages"] if each["name"] == stage))
    return min(own, float(said["cores"]["capacity"]))


def _answered(running: Running, model: str) -> int:
    content = _get(running, f"/v2/models/{model}/stats")
    return int(content["model_stats"][0]["inference_count"])


def _get(running: Running, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.http_port}{path}") as response:
        content: dict[str, Any] = json.load(response)
    return content


def _stages_under(situation: Situation, seconds: int) -> tuple[dict[str, Any], float]:
    """What a pod says under a load, and the images per second that it answered."""
    with _serve(situation.model, situation.settings) as running:
        run_wrk(running.http_port, situation.requests, situation.connections, WARM_UP_S)
        time.sleep(SETTLE_S)  # what wrk has left behind gives its slots back
        load = run_wrk(running.http_port, situation.requests, situation.connections, seconds)
        time.sleep(SETTLE_S)
        said = stages(running, situation.model.name)
    return said, situation.images * load.requests / load.seconds


def _serve(model: Model, settings: Sequence[str]) -> AbstractContextManager[Running]:
    return millrace(model, FOLDER / "store", FOLDER / "millrace.log", *settings)


def _pictures(model: Model, assets: Path) -> tuple[Path, ...]:
    """A request for each photo."""
    files = []
    for number, photo in enumerate(model.photos(assets, FOLDER / "photos")):
        file = FOLDER / f"{model.name}-{number}.request"
        file.write_bytes(v2_binary(model.name, photo.file.read_bytes()))
        files.append(file)
    return tuple(files)
