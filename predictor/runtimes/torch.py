"""PyTorch behind the runtimes' protocol: a serving graph as a ``torch.export`` program."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export.passes import move_to_device_pass

from predictor.errors import OutOfMemoryError, StartupError
from predictor.runtimes import HostMemory
from predictor.runtimes.batch_range import BatchRange, batch_range
from predictor.runtimes.cuda import CudaGraphs
from predictor.runtimes.exported import checked_program
from predictor.runtimes.memory import lack_of_memory
from predictor.runtimes.precision import convolve_channels_last, drop_assertions, halve_weights
from predictor.types import Answers

PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
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
        StartupError: no such device, or a program that cannot be loaded or must not be.
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
        self._batches = self._load(program)
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

    def _load(self, program: Path) -> BatchRange:
        content = checked_program(program)
        try:
            exported = torch.export.load(content)
            if self._device.type != "cpu":
                exported = move_to_device_pass(exported, self._device)
            self._module = exported.module(check_guards=False)  # guards are code
        # Whatever a file that is none makes of the loader.
        except Exception as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise StartupError(f"{program}: PyTorch cannot load it: {said}") from error
        try:
            batches = batch_range(exported)
        except ValueError as error:
            raise StartupError(f"{program}: {error}") from error
        drop_assertions(self._module)
        if self._device.type != "cpu":
            convolve_channels_last(self._module)
        if self._dtype is not None:
            halve_weights(self._module, self._dtype)
        return batches

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
