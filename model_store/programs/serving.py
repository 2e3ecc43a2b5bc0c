"""A serving program run on the CPU, to prove and to check it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.answers import Answers
from model_store.errors import PackageError, one_line
from model_store.package import Precision
from model_store.programs.loading import PRECISIONS, load_program


class TorchServing:
    """A serving program in a precision, by the rules of autocast, as the torch runtime runs it.

    Raises:
        PackageError: it cannot be loaded.
    """

    def __init__(self, file: Path, precision: Precision, threads: int | None = None) -> None:
        loaded = load_program(file, torch.device("cpu"), precision)
        self._name, self._module, self._batches = file.name, loaded.module, loaded.batches
        self._dtype = PRECISIONS[precision]
        self._threads = threads or len(os.sched_getaffinity(0))

    def answer(self, pixels: NDArray[np.uint8]) -> Answers:
        """The best classes of ``pixels`` (N, H, W, 3) uint8 RGB.

        Raises:
            PackageError: when the program does not run on them.
        """
        # PyTorch's threads are the process's, and others may want another number.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        images = torch.from_numpy(np.require(pixels, requirements="W"))
        try:
            with torch.inference_mode(), self._autocast():
                outputs = self._module(images)
        # PyTorch has no base class for what its operators raise.
        except Exception as error:
            raise PackageError(
                f"{self._name}: does not run on {len(pixels)} images at once: "
                f"{one_line(error)[:200]}"
            ) from error
        indices, scores = (
            (outputs["indices"], outputs["scores"]) if isinstance(outputs, dict) else outputs
        )
        return Answers(indices.long().numpy(), scores.float().numpy())

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast("cpu", dtype=self._dtype, cache_enabled=False)
