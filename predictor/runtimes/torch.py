"""PyTorch behind the runtimes' protocol: a serving graph as a ``torch.export`` program."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.programs.loading import PRECISIONS, load_program
from predictor.errors import OutOfMemoryError, StartupError
from predictor.runtimes import HostMemory
from predictor.runtimes.cuda import CudaGraphs
from predictor.runtimes.memory import lack_of_memory
from predictor.types import Answers

OUTPUTS = ("indices", "scores")


class TorchRuntime(HostMemory):
    """An exported serving graph on one device.

    On a GPU, images go through page-locked memory, convolutions are channels-last, and each batch
    size (the next power of two) is captured once as a CUDA graph and replayed: one launch a batch.

    Args:
        program: the ``.pt2`` file.
        device_kind: ``cpu``, ``cuda`` or ``rocm`` (which PyTorch calls cuda).
        threads: threads of one run on a CPU.
        precision: of the arithmetic: fp32, fp16 or bf16.

    Raises:
        StartupError: no such device.
        PackageError: a program that cannot be loaded or must not be.
    """

    def __init__(self, program: Path, device_kind: str, threads: int, precision: str) -> None:
        on_gpu = device_kind != "cpu"
        if on_gpu and not torch.cuda.is_available():
            raise StartupError(
                f"device {device_kind}: this PyTorch ({torch.__version__}) finds no such GPU"
            )
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._dtype = PRECISIONS[precision]
        loaded = load_program(program, self._device, precision)
        self._module, self._batches = loaded.module, loaded.batches
        self.largest_batch = self._batches.largest
        self._gpu = CudaGraphs(self._forward, self._batches) if on_gpu else None

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Classify ``images`` (n, H, W, 3) uint8; returns n rows, best class first.

        Raises:
            OutOfMemoryError: the device has no memory for so many.
        """
        try:
            with torch.inference_mode():
                return self._on_cpu(images) if self._gpu is None else self._gpu.run(images)
        # PyTorch says it in many ways.
        except Exception as error:
            lacking = lack_of_memory(error)
            if lacking is None:
                raise
        # Only here, where the error is gone: its traceback holds on to the batch's tensors.
        if self._gpu is not None:
            torch.cuda.empty_cache()
        raise OutOfMemoryError(lacking)

    def allocate(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Zeros of this shape (n, H, W, 3), to gather batches in; page-locked for a GPU."""
        if self._gpu is None:
            return super().allocate(shape)
        with torch.inference_mode():
            return self._gpu.allocate(shape)

    def ahead(self, buffer: NDArray[np.uint8], first: int, end: int) -> None:
        """Rows ``first`` to ``end`` of an allocated buffer have been filled or changed."""
        if self._gpu is not None:
            with torch.inference_mode():
                self._gpu.ahead(buffer, first, end)

    def close(self) -> None:
        """Give the device's memory back."""
        if self._gpu is not None:
            self._gpu.close()
        del self._module
        if self._gpu is not None:
            torch.cuda.empty_cache()

    def _on_cpu(self, images: NDArray[np.uint8]) -> Answers:
        count, missing = len(images), self._batches.least - len(images)
        if missing > 0:
            images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
        outputs = self._forward(torch.from_numpy(np.require(images, requirements="W")))
        indices, scores = (output[:count].numpy() for output in outputs)
        return Answers(indices, scores)

    def _forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices int64 and scores float32, each (n, k), of images on the device."""
        with self._autocast():
            outputs = self._module(images)
        indices, scores = (
            [outputs[name] for name in OUTPUTS] if isinstance(outputs, dict) else outputs
        )
        return indices.long(), scores.float()

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype, cache_enabled=False)
