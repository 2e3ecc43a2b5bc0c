"""A ``.pt2`` file as a module on a device, without anything in it having been unpickled or run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from model_store.errors import PackageError
from model_store.programs.archive import checked_program
from model_store.programs.batch_range import BatchRange, batch_range
from model_store.programs.precision import (
    convolve_channels_last,
    drop_assertions,
    halve_weights,
)

PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class LoadedProgram:
    """A serving graph on a device, and the batches it takes.

    ``module`` maps images uint8 (N, H, W, 3) to a dictionary, or a pair, of indices and scores.
    """

    module: torch.fx.GraphModule
    batches: BatchRange


def read_program(file: Path) -> ExportedProgram:
    """Any exported program, checked.

    Raises:
        PackageError: it is none, cannot be loaded, or loading it could run code.
    """
    content = checked_program(file)
    try:
        return torch.export.load(content)
    # Whatever a file that is none makes of the loader.
    except Exception as error:
        raise PackageError(f"{file}: PyTorch cannot load it: {_said(error)}") from error


def load_program(file: Path, device: torch.device, precision: str) -> LoadedProgram:
    """A serving graph, ready to run on ``device`` in a precision, by the rules of autocast.

    Raises:
        PackageError: as ``read_program``; or it is no serving graph.
    """
    exported = read_program(file)
    try:
        if device.type != "cpu":
            exported = move_to_device_pass(exported, device)
        module = exported.module(check_guards=False)  # guards are code
    # As above; and a device may refuse.
    except Exception as error:
        raise PackageError(f"{file}: PyTorch cannot load it: {_said(error)}") from error
    try:
        batches = batch_range(exported)
    except ValueError as error:
        raise PackageError(f"{file}: {error}") from error
    drop_assertions(module)
    if device.type != "cpu":
        convolve_channels_last(module)
    dtype = PRECISIONS[precision]
    if dtype is not None:
        halve_weights(module, dtype)
    return LoadedProgram(module, batches)


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
