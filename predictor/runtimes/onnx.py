"""ONNX Runtime behind the two-method protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from predictor.errors import StartupError
from predictor.types import Answers

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
OUTPUTS = ("indices", "scores")


class OnnxRuntime:
    """A serving graph loaded into ONNX Runtime on one device.

    Args:
        graph: the serving graph's file.
        device_kind: ``cpu`` or ``cuda``; a provider that is not installed is an error, never a
            silent fall-back to the CPU.
        threads: threads of one run on a CPU, the calling one included.

    Raises:
        StartupError: the provider is missing or the graph does not load.
    """

    def __init__(self, graph: Path, device_kind: str, threads: int) -> None:
        provider = PROVIDERS[device_kind]
        if provider not in ort.get_available_providers():
            raise StartupError(
                f"device {device_kind}: this ONNX Runtime has no {provider} "
                f"(it has {', '.join(ort.get_available_providers())})"
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
        self._input = self._session.get_inputs()[0].name

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Classify ``images`` (n, H, W, 3) uint8; returns n rows, best class first."""
        indices, scores = self._session.run(OUTPUTS, {self._input: images})
        return Answers(indices, scores)

    def close(self) -> None:
        """Drop the session; ONNX Runtime frees its memory with it."""
        del self._session
