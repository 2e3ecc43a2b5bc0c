"""Which runtime runs a package on a device. Only instances, and commands like them, import this."""

from __future__ import annotations

from model_store.package import Manifest, ModelPackage, Variant
from predictor.errors import StartupError
from predictor.runtimes import Runtime
from predictor.types import EmulatedCost

TORCH_DEVICES = ("cpu", "cuda", "rocm")


def candidates(manifest: Manifest, wanted: str, device_kind: str) -> tuple[Variant, ...]:
    """The variants that may be served on a kind of device, best proven first; one at least.

    Args:
        manifest: of the package.
        wanted: ``auto`` for all that keep the package's accuracy bound; a precision, a file or the
            ending of its name (``pt2``) for those, whether they keep the bound or not.
        device_kind: as in ``load_runtime``.

    Raises:
        StartupError: there is none; says what there is.
    """
    if wanted == "auto":
        proven = manifest.proven_variants
        return tuple(each for each in proven if _runs(each, device_kind)) or proven[:1]
    named = [
        each
        for each in manifest.variants
        if wanted in (each.precision, each.file, each.file.rpartition(".")[2])
    ]
    if not named:
        there = ", ".join(f"{each.precision} ({each.file})" for each in manifest.variants)
        raise StartupError(
            f"variant: {manifest.name} version {manifest.version} has no {wanted!r}; "
            f"there: {there}; or auto"
        )
    return tuple(each for each in named if _runs(each, device_kind)) or tuple(named[:1])


def _runs(variant: Variant, device_kind: str) -> bool:
    return variant.runtime == "onnx" or device_kind in TORCH_DEVICES


def load_runtime(
    package: ModelPackage,
    device_kind: str,
    threads: int,
    emulated: EmulatedCost | None,
    variant: Variant | None = None,
) -> Runtime:
    """The runtime for a package on a kind of device; each is imported only where it is used.

    Without a ``variant`` it is the package's first one.

    Raises:
        StartupError: it is not installed, or cannot load the package.
    """
    manifest = package.manifest
    if emulated is not None:
        from predictor.runtimes.emulated import EmulatedRuntime

        return EmulatedRuntime(emulated, manifest.classes, manifest.top_k)
    variant = variant or manifest.variants[0]
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
