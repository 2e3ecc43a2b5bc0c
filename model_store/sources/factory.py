"""``module:function`` of the user's own code, which makes a PyTorch network."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from model_store.errors import SourceError, one_line


def make_network(name: str, arguments: Mapping[str, Any]) -> torch.nn.Module:
    """Call the factory ``name`` with ``arguments``; its module may lie in the current folder.

    Raises:
        SourceError: there is none, it fails, or it makes something else.
    """
    module_name, _, path = name.partition(":")
    with _importing_from(Path.cwd()) as here:
        made = _call(name, _function(name, module_name, path, here), arguments)
    if not isinstance(made, torch.nn.Module):
        raise SourceError(f"{name}: gives {type(made).__name__}, not a torch.nn.Module")
    return made.eval()


@contextlib.contextmanager
def _importing_from(folder: Path) -> Iterator[str]:
    """A factory may import what lies beside it, also when it is called."""
    here = str(folder)
    sys.path.insert(0, here)
    try:
        yield here
    finally:
        # The user's code may have changed the list.
        with contextlib.suppress(ValueError):
            sys.path.remove(here)


def _function(name: str, module_name: str, path: str, here: str) -> Callable[..., object]:
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.split(".")[0] == error.name.split(".")[0]:
            raise SourceError(
                f"{name}: no module {module_name!r} in {here}, nor installed"
            ) from error
        raise SourceError(f"{name}: its import fails: {one_line(error)}") from error
    # The user's code may raise whatever it likes.
    except Exception as error:
        raise SourceError(f"{name}: its import fails: {_said(error)}") from error
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise SourceError(f"{name}: module {module_name!r} has no function {path!r}")
    function: Callable[..., object] = found
    return function


def _call(name: str, function: Callable[..., object], arguments: Mapping[str, Any]) -> object:
    try:
        return function(**arguments)
    # As above.
    except Exception as error:
        raise SourceError(
            f"{name}: fails: {_said(error)}; --factory-args are its arguments"
        ) from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
