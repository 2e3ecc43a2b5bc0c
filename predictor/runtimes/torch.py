"""PyTorch behind the two-method protocol: a ``torch.export`` program (``.pt2``) of a serving graph.

A package is data, and ``torch.export.load`` (2.13) unpickles: weights and constants whose entry
says ``use_pickle``, custom and opaque objects, files of the legacy format, and sample inputs, for
which it falls back to unrestricted pickle when the restricted one refuses. So the archive is
checked first: it must hold tensors as plain bytes, and sample inputs that the restricted unpickler
takes.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export.passes import move_to_device_pass

from predictor.errors import OutOfMemoryError, StartupError
from predictor.runtimes import HostMemory
from predictor.types import Answers

PLAIN = re.compile(
    r"[^/]+/(?:data/weights/weight_\d+|data/constants/tensor_\d+|models/model\.json"
    r"|archive_format|archive_version|byteorder|version|\.data/(?:version|serialization_id))"
)
CONFIG = re.compile(r"[^/]+/data/(?:weights|constants)/model_(?:weights|constants)_config\.json")
SAMPLE = re.compile(r"[^/]+/data/sample_inputs/model\.pt")
TENSOR = re.compile(r"(?:weight|tensor)_\d+")
PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
OUTPUTS = ("indices", "scores")

Forward: TypeAlias = "Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]"


class TorchRuntime(HostMemory):
    """An exported serving graph on one device.

    On a GPU, images go through page-locked memory, convolutions are channels-last, and each batch
    size (the next power of two) is captured once as a CUDA graph and replayed: one launch a batch.

    Args:
        program: the ``.pt2`` file.
        device_kind: ``cpu``, ``cuda`` or ``rocm`` (which PyTorch calls cuda).
        threads: threads of one run on a CPU.
        precision: of the arithmetic: fp32, fp16 or bf16 (autocast).

    Raises:
        StartupError: no such device, or a program that cannot be loaded or must not be.
    """

    def __init__(self, program: Path, device_kind: str, threads: int, precision: str) -> None:
        check_archive(program)
        self._on_gpu = device_kind != "cpu"
        if self._on_gpu and not torch.cuda.is_available():
            raise StartupError(
                f"device {device_kind}: this PyTorch ({torch.__version__}) finds no such GPU"
            )
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if self._on_gpu else "cpu")
        self._dtype = PRECISIONS[precision]
        try:
            exported = torch.export.load(program)
            if self._on_gpu:
                exported = move_to_device_pass(exported, self._device)
            self._module = exported.module()
        # Whatever a file that is none makes of the loader.
        except Exception as error:
            raise StartupError(f"{program}: PyTorch cannot load it: {error}") from error
        if self._on_gpu:
            channels_last = {"memory_format": torch.channels_last}  # which its stubs leave out
            self._module = self._module.to(**channels_last)  # type: ignore[call-overload]
        self._graphs: dict[int, _Captured] = {}

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Classify ``images`` (n, H, W, 3) uint8; returns n rows, best class first.

        Raises:
            OutOfMemoryError: the device has no memory for so many.
        """
        try:
            with torch.inference_mode(), self._precision():
                indices, scores = (
                    self._on_device(images)
                    if self._on_gpu
                    else self._forward(torch.from_numpy(np.require(images, requirements="W")))
                )
                return Answers(indices.numpy(), scores.float().numpy())
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfMemoryError(str(error).splitlines()[0][:200]) from error

    def close(self) -> None:
        """Give the device's memory back."""
        self._graphs.clear()
        del self._module
        if self._on_gpu:
            torch.cuda.empty_cache()

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, dtype=self._dtype or torch.float16, enabled=self._dtype is not None
        )

    def _forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self._module(images)
        if isinstance(outputs, dict):
            return outputs[OUTPUTS[0]], outputs[OUTPUTS[1]]
        indices, scores = outputs
        return indices, scores

    def _on_device(self, images: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
        count = len(images)
        size = 1 << (count - 1).bit_length()
        captured = self._graphs.get(size)
        if captured is None:
            captured = self._graphs[size] = _Captured(self._forward, (size, *images.shape[1:]))
        return captured.run(images)


class _Captured:
    """One batch size, captured as a CUDA graph over memory of its own."""

    def __init__(self, forward: Forward, shape: tuple[int, ...]) -> None:
        self._host = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        self._input = torch.zeros(shape, dtype=torch.uint8, device="cuda")
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # PyTorch's gap
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries choose and allocate before the capture
            for _ in range(3):
                forward(self._input)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = forward(self._input)

    def run(self, images: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
        """Copy in, replay, copy out; rows beyond the images are what was there before."""
        count = len(images)
        self._host[:count].copy_(torch.from_numpy(images))
        self._input.copy_(self._host, non_blocking=True)
        self._graph.replay()
        indices, scores = (output[:count].to("cpu") for output in self._outputs)
        return indices, scores


def check_archive(program: Path) -> None:
    """Refuse a ``.pt2`` file of which loading would run code.

    Raises:
        StartupError: names the entry.
    """
    try:
        with zipfile.ZipFile(program) as archive:
            for name in archive.namelist():
                problem = _problem(archive, name)
                if problem:
                    raise StartupError(f"{program}: {name}: {problem}")
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        raise StartupError(f"{program}: not a torch.export program: {error}") from error


def _problem(archive: zipfile.ZipFile, name: str) -> str:
    """Why an entry must not be loaded; empty if it may."""
    if PLAIN.fullmatch(name):
        return ""
    if CONFIG.fullmatch(name):
        for entry in json.loads(archive.read(name))["config"].values():
            if entry["use_pickle"] or not TENSOR.fullmatch(entry["path_name"]):
                return "it has pickled objects, which could run code; export plain tensors"
        return ""
    if SAMPLE.fullmatch(name):
        try:
            torch.load(io.BytesIO(archive.read(name)), weights_only=True)
        # Its refusals are of many kinds.
        except Exception:  # noqa: BLE001 (says why above)
            return "its sample inputs are no plain tensors"
        return ""
    return "this entry is not expected in a serving graph"
