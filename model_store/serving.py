"""A variant's serving graph, run on the CPU to prove, measure and check it; by its own runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from model_store.answers import Answers, ServingGraph
from model_store.errors import PackageError
from model_store.package import Precision


class Serving(Protocol):
    """A serving graph that has been loaded."""

    def answer(self, pixels: NDArray[np.uint8]) -> Answers:
        """The best classes of ``pixels`` (N, H, W, 3) uint8 RGB.

        Raises:
            PackageError: when the graph does not run on them.
        """


def open_serving(
    file: Path,
    runtime: Literal["onnx", "torch"],
    precision: Precision,
    threads: int | None = None,
) -> Serving:
    """Load a variant's file; runs on all cores unless told how many ``threads``.

    Raises:
        PackageError: its runtime is not installed, or refuses it.
    """
    if runtime == "onnx":
        return ServingGraph(file, threads)
    try:
        from model_store.programs.serving import TorchServing
    except ImportError as error:
        raise PackageError(f"{file} needs PyTorch: install millrace[torch]") from error
    return TorchServing(file, precision, threads)
