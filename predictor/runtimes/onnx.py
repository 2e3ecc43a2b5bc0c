"""ONNX Runtime behind the runtimes' protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from model_store.session import EXACT_INT8, saturates
from predictor.errors import OutOfMemoryError, StartupError
from predictor.placement import NVIDIA
from predictor.runtimes import HostMemory
from predictor.runtimes.memory import lack_of_memory
from predictor.runtimes.providers import PROVIDERS, largest_batch, names, options
from predictor.types import Answers

OUTPUTS = ("indices", "scores")


class OnnxRuntime(HostMemory):
    """A serving graph loaded into ONNX Runtime on one device.

    Its Python API takes no page-locked input, so batches are gathered in plain memory.

    Args:
        graph: the serving graph's file.
        device_kind: a key of ``PROVIDERS``; one that is not installed or does not start is an
            error, never a silent fall-back to the CPU.
        threads: threads of one run on a CPU, the calling one included.
        shape: (H, W, 3) of an image, which TensorRT wants to know beforehand.

    Raises:
        StartupError: the provider is missing or the graph does not load.
    """

    def __init__(
        self,
        graph: Path,
        device_kind: str,
        threads: int,
        shape: tuple[int, int, int] | None = None,
    ) -> None:
        provider = PROVIDERS[device_kind]
        there = ort.get_available_providers()
        if provider.name not in there:
            raise StartupError(
                f"device {device_kind}: this ONNX Runtime has no {provider.name} "
                f"(it has {', '.join(there)}); install {provider.package}, or choose other devices"
            )
        if device_kind in NVIDIA:
            ort.preload_dlls()  # where pip has put CUDA and cuDNN, the linker does not look
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        # Spinning threads starve the decoders they share cores with: 38 img/s with it, 90 without
        # (MobileNetV2 on 2 cores, docs/architecture.md).
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if saturates():
            settings.add_session_config_entry(*EXACT_INT8)
        chosen = list(zip(names(device_kind), options(device_kind, threads, shape), strict=True))
        try:
            # Without enable_fallback=0 a run that fails on a GPU moves to the CPU for good.
            self._session = ort.InferenceSession(
                str(graph), settings, providers=chosen, enable_fallback=0
            )
        # ONNX Runtime's own exceptions share no base class short of Exception.
        except Exception as error:
            raise StartupError(f"{graph}: ONNX Runtime cannot load it: {error}") from error
        if provider.name not in self._session.get_providers():  # its libraries are missing, say
            raise StartupError(
                f"device {device_kind}: {provider.name} does not start here; "
                f"ONNX Runtime would use {', '.join(self._session.get_providers())}"
            )
        self._input = self._session.get_inputs()[0].name
        self.largest_batch = largest_batch(device_kind)

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Classify ``images`` (n, H, W, 3) uint8; returns n rows, best class first.

        Raises:
            OutOfMemoryError: the device has no memory for so many.
        """
        try:
            indices, scores = self._session.run(OUTPUTS, {self._input: images})
            return Answers(indices, scores)
        # As above: only its text tells what happened.
        except Exception as error:
            lacking = lack_of_memory(error)
            if lacking is None:
                raise
        # Only here, where the error is gone: its traceback holds on to what the run had.
        raise OutOfMemoryError(lacking)

    def close(self) -> None:
        """Drop the session; ONNX Runtime frees its memory with it."""
        del self._session
