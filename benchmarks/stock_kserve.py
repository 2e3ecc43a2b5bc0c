"""Stock KServe: custom predictors as its documentation shows them, written with care.

``StockClassifier`` decodes with Millrace's decoder and runs Millrace's serving graph, so what
differs is the server. ``PlainClassifier`` is what one writes without Millrace: Pillow, numpy and
the user's own network. Both answer the two JPEG routes of KServe's v1 protocol: base64 in JSON, and
the image as the body. ``--tuned`` goes beyond what KServe 0.21 offers: uvloop, which it does not
start by itself, and no log lines for single requests, which none of its options turns off.

    python -m benchmarks.stock_kserve --package FOLDER --http_port 8080
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import setproctitle
import uvloop
from kserve import Model, ModelServer, model_server
from numpy.typing import NDArray

from benchmarks.bare import decoded, open_session, serving_graph
from model_store.package import ModelPackage, load_package
from model_store.reference import reference_pixels

Result = TypeVar("Result")
Tops = list[tuple[int, float]]  # class index and score of each image


class StockClassifier(Model):  # type: ignore[misc]  # kserve ships no types
    """An image classifier on KServe's own classes.

    ``inline`` runs decode and inference on the event loop, otherwise one thread per core does:
    which is faster depends on the network.
    """

    def __init__(
        self, package: ModelPackage, network: Path, session_threads: int, *, inline: bool
    ) -> None:
        super().__init__(package.name)
        self._package = package
        self._session = open_session(network, session_threads)
        cores = len(os.sched_getaffinity(0))
        self._threads = None if inline else ThreadPoolExecutor(cores)
        self.ready = True

    async def preprocess(
        self, payload: dict[str, Any] | bytes, headers: dict[str, str] | None = None
    ) -> NDArray[Any]:
        """One image, or a JSON list of them, to the network's input for N images."""
        return await self._run(self._prepare_all, payload)

    async def predict(self, payload: NDArray[Any], headers: dict[str, str] | None = None) -> Tops:
        """The network's input to the best class of each image."""
        return await self._run(self._infer, payload)

    async def postprocess(
        self, result: Tops, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """What goes out as JSON."""
        labels = self._package.labels
        return {
            "predictions": [
                {"label": labels[index], "index": index, "score": score} for index, score in result
            ]
        }

    def _prepare_all(self, payload: dict[str, Any] | bytes) -> NDArray[Any]:
        if isinstance(payload, bytes):
            return self._prepare(payload)[np.newaxis]
        encoded = (instance["image_bytes"]["b64"] for instance in payload["instances"])
        return np.stack([self._prepare(base64.b64decode(text)) for text in encoded])

    def _prepare(self, encoded: bytes) -> NDArray[Any]:
        return decoded(encoded, self._package.manifest.input)

    def _infer(self, images: NDArray[Any]) -> Tops:
        indices, scores = self._session.run(["indices", "scores"], {"image": images})
        return list(zip(indices[:, 0].tolist(), scores[:, 0].tolist(), strict=True))

    async def _run(self, work: Callable[..., Result], *given: object) -> Result:
        if self._threads is None:
            return work(*given)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)


class PlainClassifier(StockClassifier):
    """The same around the user's own network, for float32 NCHW in RGB and logits out."""

    def _prepare(self, encoded: bytes) -> NDArray[Any]:
        image = self._package.manifest.input
        mean, std = (
            np.array(each, np.float32) for each in (image.original.mean, image.original.std)
        )
        pixels = reference_pixels(encoded, image).astype(np.float32)
        return ((pixels * np.float32(image.original.scale) - mean) / std).transpose(2, 0, 1)

    def _infer(self, images: NDArray[Any]) -> Tops:
        manifest = self._package.manifest
        given = {manifest.input.original.name: images}
        (logits,) = self._session.run([manifest.output.name], given)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = (powers / powers.sum(axis=1, keepdims=True))[:, manifest.output.class_offset :]
        return [
            (int(index), float(each[index]))
            for index, each in zip(scores.argmax(axis=1), scores, strict=True)
        ]


class IdleClassifier(StockClassifier):
    """The same without decode and inference: what is left is what the server costs."""

    def _prepare(self, encoded: bytes) -> NDArray[Any]:
        return np.frombuffer(encoded, np.uint8, count=1)

    def _infer(self, images: NDArray[Any]) -> Tops:
        return [(0, 1.0)] * len(images)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--network", type=Path, help="the user's own, for the plain predictor")
    parser.add_argument("--session_threads", type=int, default=1)
    parser.add_argument("--inline", action="store_true")
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--idle", action="store_true")
    options = parser.parse_args()
    setproctitle.setproctitle("KServe")
    package = load_package(options.package)
    kind = StockClassifier
    if options.network:
        kind = PlainClassifier
    elif options.idle:
        kind = IdleClassifier
    network = options.network or serving_graph(package)
    classifier = kind(package, network, options.session_threads, inline=options.inline)
    server = ModelServer(enable_grpc=False, enable_latency_logging=False)
    if options.tuned:
        _tune()
    server.start([classifier])


def _tune() -> None:
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    # ModelServer asks for a current loop before it runs one; uvloop's policy makes none by itself.
    asyncio.set_event_loop(asyncio.new_event_loop())
    for name in ("kserve.trace", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
