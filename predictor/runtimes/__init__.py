"""What runs a serving graph on a device, behind one two-method protocol."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model_store.package import ModelPackage
from predictor.errors import StartupError
from predictor.types import Answers, EmulatedCost

TORCH_DEVICES = ("cpu", "cuda", "rocm")


class Runtime(Protocol):
    """One loaded serving graph on one device; used by one thread at a time."""

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Classify ``images`` (n, H, W, 3) uint8; returns n rows, best class first.

        Raises:
            OutOfMemoryError: the device has no memory for so many.
        """

    def close(self) -> None:
        """Give the device's memory back."""


def load_runtime(
    package: ModelPackage, device_kind: str, threads: int, emulated: EmulatedCost | None
) -> Runtime:
    """The runtime for a package on a kind of device; each is imported only where it is used.

    Raises:
        StartupError: it is not installed, or cannot load the package.
    """
    manifest = package.manifest
    if emulated is not None:
        from predictor.runtimes.emulated import EmulatedRuntime

        return EmulatedRuntime(emulated, manifest.classes, manifest.top_k)
    variant = manifest.variants[0]
    file = package.path / variant.file
    if variant.runtime == "torch":
        if device_kind not in TORCH_DEVICES:
            raise StartupError(f"device {device_kind}: {file} runs on {', '.join(TORCH_DEVICES)}")
        try:
            from predictor.runtimes.torch import TorchRuntime
        except ImportError as error:
            raise StartupError(f"{file} needs PyTorch: install millrace[torch]") from error
        return TorchRuntime(file, device_kind, threads, variant.precision)
    from predictor.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(file, device_kind, threads)
