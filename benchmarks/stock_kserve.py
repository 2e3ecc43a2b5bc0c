"""Stock KServe: a custom predictor as its documentation shows it, written with care.

It decodes with Millrace's decoder and runs Millrace's serving graph, so what differs is the server.
Both JPEG routes of KServe's v1 protocol are answered: base64 in JSON, and the image as the body.
``--tuned`` goes beyond what KServe 0.21 offers: uvloop, which it does not start by itself, and no
log lines for single requests, which none of its options turns off.

    python -m benchmarks.stock_kserve --package FOLDER --http_port 8080
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import setproctitle
import uvloop
from kserve import Model, ModelServer, model_server  # type: ignore[import-untyped]  # no types
from numpy.typing import NDArray

from benchmarks.bare import decoded, open_session
from model_store.package import ModelPackage, load_package

Result = TypeVar("Result")


class StockClassifier(Model):  # type: ignore[misc]  # kserve ships no types
    """An image classifier on KServe's own classes.

    ``inline`` runs decode and inference on the event loop, otherwise one thread per core does:
    which is faster depends on the network.
    """

    def __init__(self, package: ModelPackage, session_threads: int, *, inline: bool) -> None:
        super().__init__(package.name)
        self._labels = package.labels
        self._input = package.manifest.input
        self._session = open_session(package, session_threads)
        cores = len(os.sched_getaffinity(0))
        self._threads = None if inline else ThreadPoolExecutor(cores)
        self.ready = True

    async def preprocess(
        self, payload: dict[str, Any] | bytes, headers: dict[str, str] | None = None
    ) -> NDArray[np.uint8]:
        """One image, or a JSON list of them, to pixels (N, H, W, 3)."""
        return await self._run(self._decode, payload)

    async def predict(
        self, payload: NDArray[np.uint8], headers: dict[str, str] | None = None
    ) -> Sequence[NDArray[Any]]:
        """Pixels to indices (N, k) and scores (N, k)."""
        return await self._run(self._infer, payload)

    async def postprocess(
        self, result: Sequence[NDArray[Any]], headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The best class of each image."""
        indices, scores = result
        return {
            "predictions": [
                {"label": self._labels[index], "index": int(index), "score": float(score)}
                for index, score in zip(indices[:, 0], scores[:, 0], strict=True)
            ]
        }

    def _decode(self, payload: dict[str, Any] | bytes) -> NDArray[np.uint8]:
        if isinstance(payload, bytes):
            return decoded(payload, self._input)[np.newaxis]
        encoded = (instance["image_bytes"]["b64"] for instance in payload["instances"])
        return np.stack([decoded(base64.b64decode(text), self._input) for text in encoded])

    def _infer(self, pixels: NDArray[np.uint8]) -> Sequence[NDArray[Any]]:
        outputs: Sequence[NDArray[Any]] = self._session.run(
            ["indices", "scores"], {"image": pixels}
        )
        return outputs

    async def _run(self, work: Callable[..., Result], *given: object) -> Result:
        if self._threads is None:
            return work(*given)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--session_threads", type=int, default=1)
    parser.add_argument("--inline", action="store_true")
    parser.add_argument("--tuned", action="store_true")
    options = parser.parse_args()
    setproctitle.setproctitle("stock KServe")
    package = load_package(options.package)
    classifier = StockClassifier(package, options.session_threads, inline=options.inline)
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
