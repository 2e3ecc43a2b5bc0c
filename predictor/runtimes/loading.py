"""Which runtime runs a package on a device. Only instances, and commands like them, import this."""

from __future__ import annotations

from model_store.package import ModelPackage
from predictor.errors import StartupError
from predictor.runtimes import Runtime
from predictor.types import EmulatedCost

TORCH_DEVICES = ("cpu", "cuda", "rocm")


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

    return OnnxRuntime(file, device_kind, threads, manifest.input.shape)
