"""A PyTorch checkpoint put into its network, without unpickling any code."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from model_store.errors import SourceError, one_line

# Under which training scripts keep the weights beside epoch, optimizer and the like.
_NESTED = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."  # which DataParallel puts before every name
# Counters that checkpoints of PyTorch before 0.4.1 lack, and that inference does not read.
_COUNTER = "num_batches_tracked"
_GLOBAL = re.compile(r"(?:GLOBAL|global:?|class) ([\w.]+\.\w+)")

Weights = dict[str, torch.Tensor]


def read_checkpoint(file: Path) -> Weights:
    """The weights by name: a state dict, bare or inside a dictionary, with or without ``module.``.

    Raises:
        SourceError: it cannot be read, holds no state dict, or would have to run code.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SourceError(f"{file}: no such checkpoint") from None
    except OSError as error:
        raise SourceError(f"{file}: cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise SourceError(f"{file}: {_needs_code(str(error))}") from error
    # Whatever a damaged archive makes of the reader.
    except Exception as error:
        raise SourceError(
            f"{file}: is no PyTorch checkpoint, or damaged: {_short(error)}"
        ) from error
    return _plain(file, content)


def fit(network: torch.nn.Module, weights: Weights, file: Path) -> None:
    """Put ``weights`` into ``network``.

    Raises:
        SourceError: names the first missing, unexpected and differently shaped ones, and how many;
            or one whose numbers cannot be taken as they are.
    """
    own = network.state_dict()
    _check_own(own, file)
    missing = [name for name in own if name not in weights and not name.endswith(_COUNTER)]
    unexpected = [name for name in weights if name not in own]
    other = [n for n in own if n in weights and weights[n].shape != own[n].shape]
    problems = [
        f"{len(names)} {what} (first {names[0]!r}{more})"
        for what, names, more in (
            ("of its names missing in the checkpoint", missing, ""),
            ("unexpected there", unexpected, ""),
            ("of another shape", other, _shapes(own, weights, other)),
        )
        if names
    ]
    if problems:
        raise SourceError(f"{file}: does not fit the network: {'; '.join(problems)}")
    for name in own.keys() & weights.keys():
        _check_numbers(name, weights[name], own[name], file)
    try:
        network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise SourceError(f"{file}: does not fit the network: {_short(error)}") from error


def _check_own(own: Weights, file: Path) -> None:
    """Whether the network has weights yet that others can be put in the place of."""
    for name, weight in own.items():
        if torch.nn.parameter.is_lazy(weight):
            raise SourceError(
                f"{file}: cannot be put in: the network's {name!r} is lazy and has no shape yet; "
                "have the factory run a batch through it first, or say the shape"
            )
        if weight.is_meta:
            raise SourceError(
                f"{file}: cannot be put in: the network's {name!r} is on the device meta, without "
                "memory; have the factory make it on the cpu"
            )


def _check_numbers(name: str, weight: torch.Tensor, own: torch.Tensor, file: Path) -> None:
    """Whether they are there, one by one, and of a type that loses nothing but precision."""
    what = ""
    if weight.is_meta:
        what = "holds no numbers (it was on the device meta)"
    elif weight.is_quantized:
        what = f"is quantised ({_named(weight.dtype)}); save it dequantised"
    elif weight.is_nested or weight.layout != torch.strided:
        kind = "nested" if weight.is_nested else _named(weight.layout)
        what = f"is no dense tensor ({kind}); save it dense"
    elif weight.is_complex() and not own.is_complex():
        what = f"is complex ({_named(weight.dtype)}), where the network has {_named(own.dtype)}"
    if what:
        raise SourceError(f"{file}: {name!r} {what}")


def _named(kind: object) -> str:
    return str(kind).removeprefix("torch.")


def _plain(file: Path, content: object) -> Weights:
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise SourceError(f"{file}: holds no state dict but {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise SourceError(
                f"{file}: holds no state dict: {name!r} is {type(value).__name__}, not a tensor"
            )
    weights = dict(content)
    if all(name.startswith(_PARALLEL) for name in weights):
        weights = {name.removeprefix(_PARALLEL): value for name, value in weights.items()}
    return weights


def _needs_code(said: str) -> str:
    # What is no pickle at all has unknown operations in it.
    if "Unsupported operand" in said or "load key" in said:
        return "is no PyTorch checkpoint, or damaged"
    named = _GLOBAL.search(said)
    what = f" ({named[1]})" if named else ""
    return (
        f"needs unpickling of code{what}, which is not done; save the weights alone with "
        "torch.save(model.state_dict(), FILE)"
    )


def _shapes(own: Weights, weights: Weights, other: list[str]) -> str:
    if not other:
        return ""
    there, here = (list(each[other[0]].shape) for each in (weights, own))
    return f": {there} in the checkpoint, {here} in the network"


def _short(error: Exception) -> str:
    text = one_line(error)
    return text if len(text) <= 200 else text[:199] + "…"
