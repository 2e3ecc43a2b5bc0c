"""What preloaded images are worth: photos as bytes, by name, and by name as pixels already."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.load import run_wrk
from benchmarks.models import Model, Photo
from benchmarks.payloads import v2_named
from benchmarks.servers import millrace
from benchmarks.starving import FOLDER, SETTLE_S, WARM_UP_S, Pods, devices, stages
from model_store.package import ImageInput, load_package
from model_store.store import resolve
from predictor.decode import decode

IN_FLIGHT = 16
DEVICE = "1+0.1"


@dataclass(frozen=True, slots=True)
class Way:
    """How images get to a pod, and what that leaves its stages to do."""

    title: str
    images_per_second: float
    busy_ms: dict[str, float]
    limit: str


def preloaded_ways(pods: Pods, assets: Path, seconds: int, say: Callable[[str], None]) -> list[Way]:
    """Each way in a pod of its own, on a device that is no limit."""
    folder = FOLDER / "preload"
    model = pods.large
    target = load_package(resolve(model.name, FOLDER / "store")).manifest.input
    names = lay_out(folder, model.photos(assets, FOLDER / "photos"), target)
    ways = [
        ("its bytes", pods.pictures),
        ("the name of a preloaded file", tuple(_named(model, f"{name}.jpg") for name in names)),
        ("the name of preloaded pixels", tuple(_named(model, f"{name}.npy") for name in names)),
    ]
    return [_measure(title, model, requests, folder, seconds, say) for title, requests in ways]


def lay_out(folder: Path, photos: Sequence[Photo], target: ImageInput) -> list[str]:
    """Write what a pod is to preload: of each photo its file and its pixels, NAME.jpg and NAME.npy.

    Returns:
        The names, without their endings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, photo in enumerate(photos):
        jpeg = photo.file.read_bytes()
        (folder / f"{number}.jpg").write_bytes(jpeg)
        np.save(folder / f"{number}.npy", np.ascontiguousarray(decode(jpeg, target)))
    return [str(number) for number in range(len(photos))]


def _measure(
    title: str,
    model: Model,
    requests: Sequence[Path],
    preload: Path,
    seconds: int,
    say: Callable[[str], None],
) -> Way:
    settings = (*devices(DEVICE), "--decode-threads", "2", "--preload", str(preload))
    with millrace(model, FOLDER / "store", FOLDER / "millrace.log", *settings) as running:
        run_wrk(running.http_port, requests, IN_FLIGHT, WARM_UP_S)
        load = run_wrk(running.http_port, requests, IN_FLIGHT, seconds)
        time.sleep(SETTLE_S)
        said = stages(running, model.name)
    rate = load.requests / load.seconds
    say(f"{title}: {rate:,.0f} images/s")
    busy_ms = {stage["name"]: float(stage["busy_ms"] or 0) for stage in said["stages"]}
    return Way(title, rate, busy_ms, str(said["bottleneck"]))


def _named(model: Model, name: str) -> Path:
    file = FOLDER / f"{name}.request"
    file.write_bytes(v2_named(model.name, name))
    return file
