"""Batches on a GPU: copied ahead from page-locked memory, each size captured once and replayed.

A captured CUDA graph is one launch a batch, over memory that stays where it is. So each buffer that
batches are gathered in has a twin on the device and graphs of its own over it: rows are copied to
the twin on one stream as they are gathered, while the batch before computes on another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.programs.batch_range import BatchRange
from predictor.types import Answers

Forward: TypeAlias = "Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]"

SETTLING = 3  # runs before a capture, in which libraries choose and allocate (PyTorch's own number)


class CudaGraphs:
    """Runs a network on a GPU.

    Args:
        forward: images on the device, uint8 (n, H, W, 3), to indices and scores, each (n, k).
        batches: how many images it takes.
    """

    def __init__(self, forward: Forward, batches: BatchRange) -> None:
        self._forward = forward
        self._batches = batches
        self._compute = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # PyTorch's gap
        self._copies = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # PyTorch's gap
        # Waiting must not keep a core busy: it is a decoder's.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        # One for all: no two are replayed at once, and a replay's outputs are on the host by its
        # end, so what one graph leaves in this memory another may overwrite.
        self._pool = torch.cuda.graph_pool_handle()
        self._allocated: dict[int, _Buffer] = {}  # by the address of the host's side
        self._own: dict[int, _Buffer] = {}  # by size, for what was not copied ahead

    def allocate(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Page-locked zeros; the sizes run before are captured over their twin at once."""
        buffer = _Buffer(shape)
        self._allocated[buffer.address] = buffer
        for size in {min(size, shape[0]) for size in self._own}:
            if size >= self._batches.least:
                self._captured(buffer, size)
        return buffer.array

    def ahead(self, array: NDArray[np.uint8], first: int, end: int) -> None:
        """Start copying rows to the device; may be called while another buffer is run."""
        buffer = self._allocated.get(array.ctypes.data)
        if buffer is None or first >= end:
            return
        with torch.cuda.stream(self._copies):
            buffer.twin[first:end].copy_(buffer.host[first:end], non_blocking=True)
            buffer.copied.record(self._copies)
        buffer.is_ahead[first:end] = True

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Classify ``images`` (n, H, W, 3) uint8; when it returns, the device is done with them."""
        count = len(images)
        size = self._batches.padded(count)
        buffer = self._copied_ahead(images)
        if buffer is not None:
            size = min(size, len(buffer.host))
            self._compute.wait_event(buffer.copied)
        else:
            buffer = self._own.get(size) or _Buffer((size, *images.shape[1:]))
            buffer.array[:count] = images
            with torch.cuda.stream(self._compute):
                buffer.twin[:count].copy_(buffer.host[:count], non_blocking=True)
        captured = self._captured(buffer, size)
        if buffer.address not in self._allocated:
            self._own[size] = buffer  # only now: there was memory for it
        with torch.cuda.stream(self._compute):
            captured.replay(count)
            self._done.record(self._compute)
        self._done.synchronize()
        return captured.answers(count)

    def close(self) -> None:
        """Give the device's memory back; arrays that were allocated stay usable."""
        self._allocated.clear()
        self._own.clear()

    def _copied_ahead(self, images: NDArray[np.uint8]) -> _Buffer | None:
        """The buffer whose first rows these are, if all of them are on their way to the device."""
        buffer = self._allocated.get(images.ctypes.data)
        count = len(images)
        if (
            buffer is None
            or images.shape[1:] != buffer.array.shape[1:]
            or images.strides != buffer.array.strides
            or not self._batches.least <= len(buffer.array) >= count
            or not buffer.is_ahead[:count].all()
        ):
            return None
        buffer.is_ahead[:] = False  # the next batch in it has to say so again
        return buffer

    def _captured(self, buffer: _Buffer, size: int) -> _Captured:
        captured = buffer.graphs.get(size)
        if captured is None:
            captured = _Captured(self._forward, buffer.twin[:size], self._compute, self._pool)
            buffer.graphs[size] = captured
        return captured


class _Buffer:
    """Rows in page-locked memory, (n, H, W, 3) uint8, and their twin on the device."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.host = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        self.twin = torch.zeros(shape, dtype=torch.uint8, device="cuda")
        self.array: NDArray[np.uint8] = self.host.numpy()  # the same memory
        self.address = self.host.data_ptr()
        self.is_ahead = np.zeros(shape[0], bool)
        self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # PyTorch's gap
        self.graphs: dict[int, _Captured] = {}
        # Other streams write to the twin, and read weights that were made on this one.
        torch.cuda.current_stream().synchronize()


class _Captured:
    """One batch size over one buffer, as a CUDA graph."""

    def __init__(
        self,
        forward: Forward,
        images: torch.Tensor,
        stream: torch.cuda.Stream,
        pool: Any,  # which PyTorch calls opaque
    ) -> None:
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(
            stream
        ):  # around it all: a capture that fails does not leave its own
            for _ in range(SETTLING):
                forward(images)
            # Another thread may copy rows ahead meanwhile; only this one must do nothing else.
            with torch.cuda.graph(
                self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            ):
                self._outputs = forward(images)
        self._host = [
            torch.empty(output.shape, dtype=output.dtype, pin_memory=True)
            for output in self._outputs
        ]

    def replay(self, count: int) -> None:
        """Queue it on the current stream, and the copies of the first ``count`` answers after it.

        Rows beyond them hold what was there before.
        """
        self._graph.replay()
        for host, output in zip(self._host, self._outputs, strict=True):
            host[:count].copy_(output[:count], non_blocking=True)

    def answers(self, count: int) -> Answers:
        """What the last replay gave, once it is over."""
        indices, scores = (host[:count].numpy().copy() for host in self._host)
        return Answers(indices, scores)
