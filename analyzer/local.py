"""A model package on this machine, through the server's own decoder and runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from analyzer.local_lanes import DecodeTime, Decoding, Lane, Stream
from analyzer.result import ModelFacts
from analyzer.run_model import Block, Read
from model_store.package import ModelPackage, Variant
from predictor.runtimes.loading import load_runtime
from predictor.types import Answers, DecodeLimits

MOST_LANES = 16  # each holds the network once more
CPU_BATCH, GPU_BATCH = 8, 64
COMPUTES = ("millrace", "numpy", "onnxruntime", "onnxruntime-gpu", "pillow", "torch")


def _versions() -> str:
    """Of what decodes and computes: another one may answer otherwise."""
    found = []
    for tool in COMPUTES:
        try:
            found.append(f"{tool} {metadata.version(tool)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


@dataclass(frozen=True, slots=True)
class Place:
    """Where models run here.

    Attributes:
        kind: of device, as ``predictor.placement`` has it.
        cores: how many may be kept busy.
        limits, scaled: how the server decodes, by its settings.
    """

    kind: str
    cores: int
    limits: DecodeLimits
    scaled: bool

    @property
    def on_cores(self) -> bool:
        """Whether models compute on the cores that decode."""
        return self.kind in ("cpu", "openvino")


class LocalModel:
    """One variant of a package.

    Args:
        name: in the report.
        source: as the user named it.
        package: verified.
        variant: one of its.
        place: where it runs.

    Attributes:
        decode_time: what decoding took so far.
    """

    def __init__(
        self, name: str, source: str, package: ModelPackage, variant: Variant, place: Place
    ) -> None:
        self.name = name
        self.package = package
        self.variant = variant
        self.place = place
        self.decode_time = DecodeTime()
        self._source = source
        self._lanes: list[Lane] = []

    @property
    def identity(self) -> str:
        """The package's and the variant's digests, how images are decoded, and what by."""
        file = self.package.manifest.files[self.variant.file]
        return f"{self.package.digest} {file} {self.place.kind} {self.decoding} {_versions()}"

    @property
    def labels(self) -> tuple[str, ...]:
        """By class index."""
        return self.package.labels

    @property
    def top_k(self) -> int:
        """Classes in an answer."""
        return self.package.manifest.top_k

    @property
    def decoding(self) -> Decoding:
        """As a pod with the same settings does it."""
        return Decoding(self.package.manifest.input, self.place.limits, self.place.scaled)

    def facts(self) -> ModelFacts:
        """For the report."""
        manifest = self.package.manifest
        resize = manifest.input.resize
        size = f":{resize.size}" if resize.size else ""
        return ModelFacts(
            name=self.name,
            source=self._source,
            version=self.package.version,
            variant=self.variant.file,
            precision=self.variant.precision,
            sha256=manifest.files[self.variant.file],
            labels=self.labels,
            input=f"{manifest.input.height}x{manifest.input.width} RGB, {resize.policy}{size}, "
            f"{resize.interpolation}",
            size_bytes=(self.package.path / self.variant.file).stat().st_size,
        )

    def open(self) -> None:
        """Load the network once for each lane, and let it settle."""
        self._opened(self._lane_count)

    def classify(
        self, numbers: Sequence[int], read: Read, answered: Callable[[Block], None]
    ) -> None:
        """Classify images; see ``Model``."""
        stream = Stream(numbers, read, self.decoding, answered, self.decode_time)
        stream.through(self._opened(self._lane_count), self.place.cores)

    def run(self, pixels: NDArray[np.uint8]) -> Answers:
        """Classify a few images that are pixels already, uint8 (n, H, W, 3)."""
        (lane, *_) = self._opened(1)
        indices, scores = [], []
        for first in range(0, len(pixels), lane.batch):
            for part in lane.run(pixels[first : first + lane.batch]).result().parts:
                if part.answers is None:
                    indices.append(np.full((1, self.top_k), -1, np.int64))
                    scores.append(np.full((1, self.top_k), np.nan, np.float32))
                else:
                    indices.append(part.answers.indices)
                    scores.append(part.answers.scores)
        return Answers(np.concatenate(indices), np.concatenate(scores))

    def close(self) -> None:
        """Give runtimes back; the next image loads them again."""
        for lane in self._lanes:
            lane.close()
        self._lanes = []

    @property
    def _lane_count(self) -> int:
        return min(self.place.cores, MOST_LANES) if self.place.on_cores else 1

    def _opened(self, count: int) -> list[Lane]:
        """So many lanes at least."""
        threads = max(1, self.place.cores // self._lane_count)
        batch = CPU_BATCH if self.place.on_cores else GPU_BATCH
        shape = self.package.manifest.input.shape
        while len(self._lanes) < count:
            self._lanes.append(
                Lane(
                    lambda: load_runtime(
                        self.package, self.place.kind, threads, None, self.variant
                    ),
                    batch,
                    shape,
                )
            )
            self._lanes[-1].warm_up()
        return self._lanes
