"""Which registry: its tracking URI, and where an embedded one keeps things."""

from __future__ import annotations

import os
import re
from pathlib import Path

DEFAULT_URI = "sqlite:///var/mlflow.db"
_VARIABLES = ("MILLRACE_REGISTRY", "MLFLOW_TRACKING_URI")
_SQLITE = "sqlite:///"
_CREDENTIALS = re.compile(r"//[^/@\s]*@")


def registry_uri(given: str = "") -> str:
    """The tracking URI to use: the one given, else ours or MLflow's variable, else the embedded."""
    named = (given, *(os.environ.get(name, "") for name in _VARIABLES))
    return next((uri for uri in named if uri), DEFAULT_URI)


def shown(uri: str) -> str:
    """A tracking URI without the name and password that may stand in it."""
    return _CREDENTIALS.sub("//", uri)


def database_file(uri: str) -> Path | None:
    """The file of an embedded registry; None for any other."""
    return Path(uri[len(_SQLITE) :].partition("?")[0]) if uri.startswith(_SQLITE) else None


def artifact_location(uri: str) -> str | None:
    """Where an embedded registry keeps artifacts: beside its file. None: the server's business."""
    file = database_file(uri)
    return None if file is None else (file.parent / "artifacts").absolute().as_uri()
