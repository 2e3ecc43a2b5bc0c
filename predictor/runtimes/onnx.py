"""ONNX Runtime behind the two-method protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from predictor.errors import OutOfMemoryError, StartupError
from predictor.runtimes import HostMemory
from predictor.types import Answers

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
PACKAGES = {"cuda": "onnxruntime-gpu", "tensorrt": "onnxruntime-gpu", "rocm": "onnxruntime-rocm"}
OUTPUTS = ("indices", "scores")
# How ONNX Runtime's allocators and CUDA say that there is no memory; it has no exception for it.
OUT_OF_MEMORY = ("failed to allocate memory", "out of memory", "bad_alloc", "bad allocation")


class OnnxRuntime(HostMemory):
    """A serving graph loaded into ONNX Runtime on one device.

    Args:
        graph: the serving graph's file.
        device_kind: a key of ``PROVIDERS``; one that is not installed or does not start is an
            error, never a silent fall-back to the CPU.
        threads: threads of one run on a CPU, the calling one included.

    Raises:
        StartupError: the provider is missing or the graph does not load.
    """

    def __init__(self, graph: Path, device_kind: str, threads: int) -> None:
        provider = PROVIDERS[device_kind]
        there = ort.get_available_providers()
        if provider not in there:
            hint = PACKAGES.get(device_kind, f"onnxruntime-{device_kind}")
            raise StartupError(
                f"device {device_kind}: this ONNX Runtime has no {provider} "
                f"(it has {', '.join(there)}); install {hint}, or choose other devices"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads starve the decoders they share cores with: 38 img/s with it, 90 without
        # (MobileNetV2 on 2 cores, docs/architecture.md).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(graph), options, providers=[provider])
        # ONNX Runtime's own exceptions share no base class short of Exception.
        except Exception as error:
            raise StartupError(f"{graph}: ONNX Runtime cannot load it: {error}") from error
        if provider not in self._session.get_providers():  # its libraries are missing, say
            raise StartupError(
                f"device {device_kind}: {provider} does not start here; "
                f"ONNX Runtime would use {', '.join(self._session.get_providers())}"
            )
        self._input = self._session.get_inputs()[0].name

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Classify ``images`` (n, H, W, 3) uint8; returns n rows, best class first.

        Raises:
            OutOfMemoryError: the device has no memory for so many.
        """
        try:
            indices, scores = self._session.run(OUTPUTS, {self._input: images})
        # As above: only its text tells what happened.
        except Exception as error:
            if isinstance(error, MemoryError) or _is_memory(str(error)):
                text = (str(error).splitlines() or ["no memory"])[0][:200]
                raise OutOfMemoryError(text) from error
            raise
        return Answers(indices, scores)

    def close(self) -> None:
        """Drop the session; ONNX Runtime frees its memory with it."""
        del self._session


def _is_memory(text: str) -> bool:
    return any(sign in text.lower() for sign in OUT_OF_MEMORY)
