"""ONNX Runtime's execution providers: which one a kind of device is, and what it is told."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from predictor.errors import StartupError

INPUT = "image"  # of every serving graph


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider, and the package that has it."""

    name: str
    package: str


MIGRAPHX = Provider("MIGraphXExecutionProvider", "onnxruntime-migraphx")
PROVIDERS = {
    "cpu": Provider("CPUExecutionProvider", "onnxruntime"),
    "cuda": Provider("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": Provider("TensorrtExecutionProvider", "onnxruntime-gpu"),
    # ONNX Runtime has had no provider for ROCm itself since 1.23; this one runs on it.
    "rocm": MIGRAPHX,
    "migraphx": MIGRAPHX,
    "openvino": Provider("OpenVINOExecutionProvider", "onnxruntime-openvino"),
}
CUDA_OPTIONS = {
    # The default times every algorithm for every batch size; cuDNN's own guess is as good nearly
    # always, and there at once.
    "cudnn_conv_algo_search": "HEURISTIC",
    # The default doubles what it takes from the device each time it needs more.
    "arena_extend_strategy": "kSameAsRequested",
}
# Batches that a TensorRT engine is built for: one engine for all of them, which takes minutes, and
# not one for each new size. It is tuned for the size between them.
TENSORRT_BATCHES = {"min": 1, "opt": 8, "max": 64}


def options(
    kind: str, threads: int, shape: tuple[int, int, int] | None = None
) -> list[dict[str, str]]:
    """What the providers of a kind of device are told, in the order of ``names``.

    Args:
        kind: of device, a key of ``PROVIDERS``.
        threads: of one run, where a CPU computes.
        shape: (H, W, 3) of an image; without it TensorRT builds engines as sizes come.

    Raises:
        StartupError: there is no folder to keep TensorRT's engines in.
    """
    if kind == "cuda":
        return [CUDA_OPTIONS]
    if kind == "openvino":
        return [{"device_type": "CPU", "num_of_threads": str(threads)}]
    if kind != "tensorrt":
        return [{}]
    folder = str(_engine_folder())
    profile = {
        f"trt_profile_{which}_shapes": f"{INPUT}:{'x'.join(map(str, (batch, *shape)))}"
        for which, batch in TENSORRT_BATCHES.items()
        if shape is not None
    }
    cache = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }
    return [profile | cache, CUDA_OPTIONS]


def names(kind: str) -> list[str]:
    """The providers of a kind of device: what the first one cannot run, the next one gets."""
    more = [PROVIDERS["cuda"].name] if kind == "tensorrt" else []
    return [PROVIDERS[kind].name, *more]


def largest_batch(kind: str) -> int | None:
    """Images that a provider takes at once; None: as many as fit."""
    return TENSORRT_BATCHES["max"] if kind == "tensorrt" else None


def _engine_folder() -> Path:
    """A folder that nobody else can write to: an engine is code."""
    folder = Path(tempfile.gettempdir()) / f"millrace-tensorrt-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise StartupError(f"device tensorrt: cannot keep its engines: {error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StartupError(f"device tensorrt: {folder} is open to others; remove it")
    return folder
