"""Which kind of network a source is, and in which files it lies."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model_store.errors import SourceError
from model_store.package import sha256_of
from model_store.sources.mlflow_folder import MLMODEL, network_in

Kind = Literal["onnx", "program", "factory"]

NAMES: Mapping[Kind, str] = {
    "onnx": "ONNX network",
    "program": "torch.export program",
    "factory": "PyTorch network and its checkpoint",
}
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_STATE_DICT = "state_dict.pth"  # as MLflow names it in a folder


@dataclass(frozen=True, slots=True)
class Located:
    """A source that has been found; not read yet.

    Args:
        name: as the user named it, for messages and the package's provenance.
        kind: what reads it.
        file: the network, or the checkpoint of a factory.
        factory: ``module:function``, or nothing.
        flavor: of an MLflow model that it lies in, or nothing.
    """

    name: str
    kind: Kind
    file: Path
    factory: str = ""
    flavor: str = ""

    @property
    def title(self) -> str:
        """The file's name; of a factory its own, and that of its checkpoint."""
        return f"{self.factory} {self.file.name}" if self.factory else self.file.name

    def __str__(self) -> str:
        inside = f", the {self.flavor} flavor of an MLflow model" if self.flavor else ""
        return f"{NAMES[self.kind]}{inside}"


def locate(source: Path, checkpoint: Path | None) -> Located:
    """Find out what ``source`` is: a file, a folder of MLflow's, or ``module:factory``.

    Raises:
        SourceError: nothing of the kind; says what is missing.
    """
    text = str(source)
    if _FACTORY.fullmatch(text) and not source.exists():
        if checkpoint is None:
            raise SourceError(f"{text}: makes a network without weights; give --checkpoint FILE")
        return Located(text, "factory", _in_folder(checkpoint), factory=text)
    if checkpoint is not None:
        raise SourceError(f"{text}: --checkpoint goes with a source such as module:factory")
    flavor, file = "", source
    if (source / MLMODEL).is_file():
        flavor, file = network_in(source)
    return Located(text, "program" if _is_program(file) else "onnx", file, flavor=flavor)


def is_file(source: str) -> bool:
    """Whether a source names a file or folder, and neither a factory nor a URI."""
    return not _FACTORY.fullmatch(source) and not _URI.match(source)


def digest(files: tuple[Path, ...]) -> str:
    """Hex sha256 of a file; of several, that of the list of their own, in hex, a line each."""
    digests = [sha256_of(file) for file in files]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _in_folder(checkpoint: Path) -> Path:
    return checkpoint / _STATE_DICT if checkpoint.is_dir() else checkpoint


def _is_program(file: Path) -> bool:
    """By its ending, or by what is in it."""
    if file.suffix == ".pt2":
        return True
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/models/model.json") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError):
        return False
