"""The decoders of a frontend: encoded bytes in, pixels in a slot out.

Photos go to threads. A thumbnail for a network of thumbnails is decoded where it arrives, and so
are pixels that only need copying, up to a bound for each request: that takes less time than handing
them to a thread and back.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model_store.package import ImageInput
from predictor.admission import DecodeBacklog
from predictor.decode import decode
from predictor.errors import (
    BadImageError,
    ImageTooLargeError,
    InferenceError,
    PredictorError,
)
from predictor.frontend_work import thread_clock
from predictor.types import DecodeLimits, Image, Pixels

logger = logging.getLogger(__name__)

DECODE_NICE = 2  # behind the event loop, before the instances (``instance_nice``)
# What may be decoded on the event loop: about 0.15 ms each.
THUMBNAIL_BYTES = 4096
THUMBNAIL_PIXELS = 64 * 64
COPIED_BYTES = 4 * 1024 * 1024  # of a request's pixels that need no decoding: 0.2 ms


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """One image to decode into ``slot`` (H, W, 3); ``done`` is called on the event loop.

    Attributes:
        image: the file, or pixels.
        target: what the network takes.
        slot: where it goes.
        key: the least goes first (``queue_policy.order_key``).
        wanted: asked just before decoding: does anybody still wait?
        done: told the error if any, and when decoding began and ended (CLOCK_MONOTONIC ns).
    """

    image: Image
    target: ImageInput
    slot: Pixels
    key: int
    wanted: Callable[[], bool]
    done: Callable[[PredictorError | None, int, int], None]


class DecodePool:
    """A fixed number of threads; the queue before them is bounded by the slabs' slots.

    Args:
        threads: how many.
        limits: bounds on an image.
        scaled: let large JPEGs be decoded at a fraction of their size.
        loop: where to tell what has been done.

    Attributes:
        backlog: what is queued and being decoded, as far as it is predicted.
        decoded: images that the threads have decoded.
        decoded_here: images that were decoded on the event loop.
        here_ns: what those took.
    """

    def __init__(
        self, threads: int, limits: DecodeLimits, scaled: bool, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.threads = threads
        self.scaled = scaled
        self.backlog = DecodeBacklog()
        self.decoded = self.decoded_here = self.here_ns = 0
        self._limits = limits
        self._loop = loop
        self._numbers = itertools.count()
        self._jobs: queue.PriorityQueue[tuple[float, int, DecodeJob | None]] = queue.PriorityQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"decode-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()
        self._clocks = [thread_clock(thread.ident) for thread in self._threads]

    def cpu_ns(self) -> int:
        """CPU time of the threads so far."""
        return sum(clock() for clock in self._clocks)

    def submit(self, job: DecodeJob, *, quick: bool) -> None:
        """Decode one image now or soon; every job's ``done`` is called exactly once.

        Args:
            job: the image.
            quick: what ``is_quick`` says of its request: it may be decoded on the event loop.
        """
        if not (quick and self._decoded_here(job)):
            self._jobs.put((job.key, next(self._numbers), job))

    def is_quick(self, images: Sequence[Image], target: ImageInput) -> bool:
        """Whether a request may take less time to decode than to hand to threads and back."""
        if len(images) == 1 and not isinstance(images[0], np.ndarray):
            pixels = target.height * target.width
            return pixels <= THUMBNAIL_PIXELS and len(images[0]) <= THUMBNAIL_BYTES
        # Of pixels as the network takes them nothing is left but to copy.
        return len(images) * math.prod(target.shape) <= COPIED_BYTES and all(
            isinstance(image, np.ndarray) and image.shape == target.shape for image in images
        )

    def close(self) -> None:
        """Stop the threads once they have done what is queued."""
        for _ in self._threads:
            self._jobs.put((math.inf, next(self._numbers), None))
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        # The event loop goes before the decoders: it answers at once, or refuses.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), DECODE_NICE)
        while (job := self._jobs.get()[2]) is not None:
            began_ns = time.monotonic_ns()
            error = self._decode(job, self._limits) if job.wanted() else None
            self._loop.call_soon_threadsafe(
                self._decoded, job, error, began_ns, time.monotonic_ns()
            )

    def _decoded(
        self, job: DecodeJob, error: PredictorError | None, began_ns: int, ended_ns: int
    ) -> None:
        self.decoded += 1
        job.done(error, began_ns, ended_ns)

    def _decoded_here(self, job: DecodeJob) -> bool:
        """Decode on the event loop, unless the header says that this is no thumbnail."""
        began_ns = time.monotonic_ns()
        pixels = max(THUMBNAIL_PIXELS, job.target.height * job.target.width)
        here = DecodeLimits(min(pixels, self._limits.max_pixels), self._limits.min_side)
        error = self._decode(job, here)
        if isinstance(error, ImageTooLargeError):
            return False
        ended_ns = time.monotonic_ns()
        self.decoded_here += 1
        self.here_ns += ended_ns - began_ns
        job.done(error, began_ns, ended_ns)
        return True

    def _decode(self, job: DecodeJob, limits: DecodeLimits) -> PredictorError | None:
        try:
            job.slot[:] = decode(job.image, job.target, limits, scaled=self.scaled)
        except BadImageError as error:
            # Its trace would keep the half-decoded image alive until the garbage collector comes.
            return error.with_traceback(None)
        # Memory that is not to be had, for instance; the thread must live on and answer.
        except Exception:
            logger.exception("decoding failed")
            return InferenceError("decoding failed")
        return None
