"""``python -m benchmarks.gpu``: a real accelerator with ResNet-50, alone and behind the server.

What each variant of the package does on the device alone, batch after batch, copied ahead as an
instance does it; what the cores decode alone; and what is answered over HTTP: names of preloaded
pixels (nothing to decode), names of preloaded photos, and photos as bytes. Then its instance is
killed under load. Ratios are against the device, or the decoders, alone in the same run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from benchmarks import options
from benchmarks.errors import BenchmarkError
from benchmarks.models import MODELS, Model
from benchmarks.page import Finding, Section, findings, number, table
from benchmarks.pod import scrape
from benchmarks.preloading import lay_out
from benchmarks.resnet50 import SIZE, write_checkpoint
from benchmarks.servers import Running, millrace
from benchmarks.starving import stages
from examples.server import MILLRACE, ServerError
from model_store.package import ModelPackage, load_package
from model_store.store import resolve
from predictor.decode import decode
from predictor.errors import PredictorError, StartupError
from predictor.runtimes.loading import load_runtime

SECTION = Section("gpu", "python -m benchmarks.gpu")
FOLDER = Path("var/bench-gpu")
SIZES = (1, 8, 16, 32, 64)
LEAST_S = 1.0  # of each batch size
IN_FLIGHT = 256  # four batches of 64
VARIANTS = "pt2,pt2-bf16"  # fp16 takes minutes to prove on a CPU
DONE, BUSY = 0.95, 0.95  # to be reached: of the device alone; of the time that it works
KILLED_AFTER_S = 6.0
REFUSED = "503"

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Alone:
    """A variant on the device without a server: images/s by batch size."""

    file: str
    rates: dict[int, float]

    @property
    def best(self) -> float:
        """Of all batch sizes."""
        return max(self.rates.values())


@dataclass(frozen=True, slots=True)
class Served:
    """What was answered.

    Attributes:
        way: how images came.
        settings: of the pod.
        images_per_second, p50_ms, p99_ms: as ``millrace load`` saw them.
        busy, mean_batch: of the device's instance.
        limit, advice: as the pod said.
    """

    way: str
    settings: str
    images_per_second: float
    p50_ms: float
    p99_ms: float
    busy: float
    mean_batch: float
    limit: str
    advice: str


@dataclass(frozen=True, slots=True)
class Killed:
    """What came of a load under which the instance, the only one, was killed.

    Attributes:
        requests: that were sent.
        refused: because no instance was ready: 503, at once.
        lost: that ended in any other way than well.
        restarts: as the pod counts them.
    """

    requests: int
    refused: int
    lost: int
    restarts: float


@click.command()
@click.option("--device", default="cuda:0", show_default=True)
@click.option("--variant", default="auto", show_default=True, help="That is served.")
@click.option("--frontends", default="1,4", show_default=True, help="How many, in turn.")
@click.option("--seconds", default=12, show_default=True, type=click.IntRange(4), help="Per cell.")
@options.write
@options.assets
def main(
    *, device: str, variant: str, frontends: str, seconds: int, write: bool, assets: Path
) -> None:
    """Measure an accelerator and print Markdown."""
    try:
        model = _packaged(assets)
        package = load_package(resolve(model.name, FOLDER / "store"))
        files = [each.file for each in package.manifest.variants]
        alone = [each for file in files if (each := _alone(package.path, file, device))]
        decoded = _decoded_alone(package, model, assets, seconds)
        names = _preload(package, model, assets)
        served = [
            _serve(model, way, images, int(count), (device, variant), seconds)
            for count in frontends.split(",")
            for way, images in names.items()
        ]
        killed = _killed(model, names["names of pixels"], (device, variant), seconds)
    except (BenchmarkError, ServerError, PredictorError, StartupError) as error:
        raise click.ClickException(str(error)) from error
    SECTION.publish(_markdown(device, alone, decoded, served, killed), write=write)


def _packaged(assets: Path) -> Model:
    """ResNet-50 in the store; made once."""
    like = MODELS["mobilenet_v2"]
    model = replace(like, name="resnet50", source="benchmarks.resnet50:resnet50", instances=1)
    if (FOLDER / "store" / model.name).exists():
        return model
    weights = FOLDER / "resnet50.pt"
    write_checkpoint(weights)
    command: list[str | Path] = [MILLRACE, "package", model.source, "--checkpoint", weights]
    command += ["--name", model.name, "--labels", assets / model.labels, "--variants", VARIANTS]
    command += ["--input-size", str(SIZE), "--resize", "shortest-side:256", "--crop", str(SIZE)]
    command += ["--mean", "127.5", "--std", "58", "--parity-images", assets / model.parity_images]
    # These weights know no class, so that photos are near the border of two: it is speed that
    # counts here, and that the answers are the CPU's is for tests/predictor/test_torch_runtime.py.
    command += ["--least-agreement", "0.5", "--store", FOLDER / "store"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", *_python_path()])}
    if subprocess.run(command, check=False, env=environment).returncode != 0:
        raise BenchmarkError("millrace package refused ResNet-50; its words are above")
    return model


def _python_path() -> list[str]:
    return [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]


def _alone(package: Path, file: str, device: str) -> Alone | None:
    """In a process of its own, so that all of the device's memory comes back."""
    with get_context("spawn").Pool(1) as pool:
        rates, refused = pool.apply(_rates, (package, file, device.partition(":")[0]))
    if refused:
        progress.print(f"{file}: {refused}")
        return None
    progress.print(f"{file} alone: {rates}")
    return Alone(file, rates)


def _rates(path: Path, file: str, kind: str) -> tuple[dict[int, float], str]:
    """Images/s by batch size, each batch copied ahead while the one before it runs; or why none."""
    package = load_package(path)
    variant = next(each for each in package.manifest.variants if each.file == file)
    try:
        runtime = load_runtime(package, kind, len(os.sched_getaffinity(0)), None, variant)
    except StartupError as error:
        return {}, str(error)
    rates = {}
    for size in SIZES:
        buffers = [runtime.allocate((size, *package.manifest.input.shape)) for _ in range(2)]
        for buffer in buffers:
            buffer[:] = np.random.default_rng(size).integers(0, 256, buffer.shape, np.uint8)
            runtime.ahead(buffer, 0, size)
            runtime.run(buffer)  # settles, and captures
        runtime.ahead(buffers[0], 0, size)
        done, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < LEAST_S:
            runtime.ahead(buffers[1], 0, size)
            runtime.run(buffers[0])
            buffers.reverse()
            done += size
        rates[size] = round(done / spent, 1)
    runtime.close()
    return rates, ""


def _decoded_alone(package: ModelPackage, model: Model, assets: Path, seconds: int) -> float:
    """Photos/s that all cores decode, a process each."""
    photos = [each.file.read_bytes() for each in model.photos(assets, FOLDER / "photos")]
    cores = len(os.sched_getaffinity(0))
    jobs = [(package.path, photos[core:] + photos[:core], seconds / 2) for core in range(cores)]
    with get_context("spawn").Pool(cores) as pool:
        rate = sum(pool.starmap(_decode, jobs, chunksize=1))
    progress.print(f"{cores} processes decode {rate:,.0f} photos/s")
    return rate


def _decode(package: Path, photos: Sequence[bytes], seconds: float) -> float:
    target = load_package(package).manifest.input
    done, began, spent = 0, time.perf_counter(), 0.0
    for photo in cycle(photos):
        decode(photo, target)
        done += 1
        if (spent := time.perf_counter() - began) > seconds:
            break
    return done / spent


def _preload(package: ModelPackage, model: Model, assets: Path) -> dict[str, Sequence[str | Path]]:
    """What ``millrace load`` is told to send, by way; the pod preloads one folder for them all."""
    photos = model.photos(assets, FOLDER / "photos")
    names = lay_out(FOLDER / "preload", photos, package.manifest.input)
    return {
        "names of pixels": ["--by-ref", *(f"{name}.npy" for name in names)],
        "names of photos": ["--by-ref", *(f"{name}.jpg" for name in names)],
        "photos": [photo.file for photo in photos],
    }


def _serve(
    model: Model,
    way: str,
    images: Sequence[str | Path],
    frontends: int,
    served: tuple[str, str],
    seconds: int,
) -> Served:
    settings = _settings(served, frontends)
    with _pod(replace(model, frontends=frontends), settings) as running:
        figures = _load(running, images, seconds)
        said = stages(running, model.name)
    instance = said["instances"][0]
    result = Served(
        way,
        f"{frontends} frontend(s)",
        figures["images_per_s"],
        figures["latency_ms"]["p50"],
        figures["latency_ms"]["p99"],
        float(instance["busy_ratio"]),
        float(instance["mean_batch"] or 0),
        str(said["bottleneck"]),
        str(said["advice"]),
    )
    progress.print(str(result))
    progress.print("; ".join(figures["notes"]))
    return result


def _killed(
    model: Model, images: Sequence[str | Path], served: tuple[str, str], seconds: int
) -> Killed:
    """SIGKILL to the instance while the device is busy."""
    with _pod(model, _settings(served, 1)) as running:

        def kill() -> None:
            for process in running.server.family():
                if ": instance" in " ".join(process.cmdline()):
                    os.kill(process.pid, signal.SIGKILL)

        timer = threading.Timer(KILLED_AFTER_S, kill)
        timer.start()
        figures = _load(running, images, 2 * seconds + 20)
        timer.join()
        restarts = scrape(running.http_port).total("millrace_instance_restarts_total")
    refused = figures["outcomes"].get(REFUSED, 0)
    lost = figures["failed"] - refused
    result = Killed(figures["requests"], refused, lost, restarts)
    progress.print(str(result))
    return result


def _settings(served: tuple[str, str], frontends: int) -> tuple[str, ...]:
    device, variant = served
    slots = -(-2 * IN_FLIGHT // frontends)
    return (
        *("--devices", device, "--variant", variant, "--max-queue-size", str(slots)),
        *("--preload", str(FOLDER / "preload"), "--request-timeout-s", "120"),
    )


def _pod(model: Model, settings: Sequence[str]) -> AbstractContextManager[Running]:
    return millrace(model, FOLDER / "store", FOLDER / "millrace.log", *settings)


def _load(running: Running, images: Sequence[str | Path], seconds: int) -> dict[str, Any]:
    """``millrace load`` in a closed loop; its report."""
    command: list[str | Path] = [MILLRACE, "load", *images, "--no-progress", "--json", "-"]
    command += ["--endpoint", f"http://127.0.0.1:{running.http_port}", "--timeout", "150"]
    command += ["--concurrency", str(IN_FLIGHT), "--duration", str(seconds), "--warm-up", "2"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise BenchmarkError(f"millrace load failed: {done.stderr.strip()}")
    measured: dict[str, Any] = json.loads(done.stdout)["measurements"][0]
    return measured


def _markdown(
    device: str, alone: Sequence[Alone], decoded: float, served: Sequence[Served], killed: Killed
) -> list[str]:
    best = max(each.best for each in alone)
    cores = len(os.sched_getaffinity(0))
    return [
        "## A real accelerator",
        "",
        *findings(list(_findings(best, served, killed))),
        "",
        f"ResNet-50 on `{device}`, {cores} cores. The device alone, images/s by batch size:",
        "",
        *table(
            ("variant", *map(str, SIZES)),
            [(each.file, *(number(each.rates[size], 0) for size in SIZES)) for each in alone],
        ),
        "",
        f"All cores decode {number(decoded, 0)} photos/s alone, a process each. Served over HTTP, "
        f"one image a request, {IN_FLIGHT} in flight, the client on the same cores:",
        "",
        *table(
            (
                "images as",
                "",
                "images/s",
                "of the device",
                "busy",
                "batch",
                "p50 ms",
                "p99 ms",
                "limit",
            ),
            [_cells(each, best) for each in served],
        ),
        "",
        *(f'- {each.way}, {each.settings}: "{each.advice}"' for each in served),
    ]


def _findings(best: float, served: Sequence[Served], killed: Killed) -> Iterator[Finding]:
    pixels = max(
        (each for each in served if each.way == "names of pixels"),
        key=lambda each: each.images_per_second,
    )
    ratio = pixels.images_per_second / best
    yield Finding(f"preloaded pixels ≥ {DONE} of the device alone", f"{ratio:.3f}", ratio >= DONE)
    yield Finding(f"the device works ≥ {BUSY} of it", f"{pixels.busy:.3f}", pixels.busy >= BUSY)
    reached = f"{killed.lost} of {killed.requests - killed.refused:,}"
    holds = killed.lost == 0 and killed.restarts > 0
    yield Finding("its instance is killed: nothing that was accepted is lost", reached, holds)


def _cells(each: Served, best: float) -> tuple[str, ...]:
    return (
        each.way,
        each.settings,
        number(each.images_per_second, 0),
        number(each.images_per_second / best, 2),
        number(each.busy, 2),
        number(each.mean_batch, 0),
        number(each.p50_ms, 1),
        number(each.p99_ms, 1),
        each.limit,
    )


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.gpu")
