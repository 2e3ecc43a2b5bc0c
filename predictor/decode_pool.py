"""The decode threads of a frontend: encoded bytes in, pixels in a slot out."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from model_store.package import ImageInput
from predictor.decode import decode
from predictor.errors import BadImageError
from predictor.types import DecodeLimits, Image, Pixels


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """One image to decode into ``slot`` (H, W, 3); ``done`` is called on the event loop."""

    image: Image
    slot: Pixels
    wanted: Callable[[], bool]  # asked just before decoding: does anybody still wait?
    done: Callable[[BadImageError | None, float], None]  # the error if any, and busy seconds


class DecodePool:
    """A fixed number of threads; the queue before them is bounded by the slab's slots."""

    def __init__(
        self,
        threads: int,
        target: ImageInput,
        limits: DecodeLimits,
        scaled: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._target = target
        self._limits = limits
        self._scaled = scaled
        self._loop = loop
        self._jobs: queue.SimpleQueue[DecodeJob | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"decode-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: DecodeJob) -> None:
        """Queue one image; every job's ``done`` is called exactly once."""
        self._jobs.put(job)

    def close(self) -> None:
        """Stop the threads once they have done what is queued."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            began = time.perf_counter()
            error = self._decode(job) if job.wanted() else None
            self._loop.call_soon_threadsafe(job.done, error, time.perf_counter() - began)

    def _decode(self, job: DecodeJob) -> BadImageError | None:
        try:
            job.slot[:] = decode(job.image, self._target, self._limits, scaled=self._scaled)
        except BadImageError as error:
            return error
        return None
