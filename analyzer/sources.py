"""What a user names as a dataset, opened: a folder, a CSV table, a zip file, or MLflow's record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from analyzer.dataset import Dataset
from analyzer.errors import DatasetError
from analyzer.sources_files import open_csv, open_folder
from analyzer.sources_zip import open_zip

MLFLOW = "mlflow:"


def open_datasets(sources: Sequence[str]) -> tuple[Dataset, ...]:
    """Open several; those that would have one name are told apart by a number.

    A source may begin with the name that it is to have: ``NAME=SOURCE``.

    Raises:
        DatasetError: one cannot be opened; says why.
    """
    found: list[Dataset] = []
    for source in sources:
        name, path = _named(source)
        dataset = open_dataset(path)
        wanted = name or dataset.name
        taken = {other.name for other in found}
        number = 2
        own = wanted
        while own in taken:
            own, number = f"{wanted} ({number})", number + 1
        found.append(dataset.named(own))
    return tuple(found)


def _named(source: str) -> tuple[str, str]:
    name, equals, rest = source.partition("=")
    if equals and name and "/" not in name and not Path(source).exists():
        return name, rest
    return "", source


def open_dataset(source: str) -> Dataset:
    """Open what ``source`` names.

    A folder of class folders or of images, a ``.csv``, a ``.zip`` of either, or
    ``mlflow:RUN_ID[/NAME]`` for a dataset that was logged to an MLflow run and lies on this
    machine.

    Raises:
        DatasetError: it cannot be opened; says why.
    """
    path = _of_mlflow(source) if source.startswith(MLFLOW) else Path(source)
    if path.is_dir():
        return open_folder(path, source)
    if not path.is_file():
        raise DatasetError(
            f"no dataset {str(path)!r}; name a folder, a .csv with file,label, a .zip of either, "
            f"or {MLFLOW}RUN_ID"
        )
    if path.suffix.lower() == ".csv":
        return open_csv(path, source)
    if path.suffix.lower() == ".zip":
        return open_zip(path, source)
    raise DatasetError(f"{path}: neither a folder, nor a .csv, nor a .zip")


def _of_mlflow(source: str) -> Path:
    """Where a dataset of a run lies."""
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise DatasetError(f"{source}: needs MLflow: install millrace[registry]") from None
    run_id, _, wanted = source.removeprefix(MLFLOW).partition("/")
    try:
        inputs = MlflowClient().get_run(run_id).inputs
    except MlflowException as error:
        raise DatasetError(f"{source}: {str(error).splitlines()[0]}") from None
    there = [one.dataset for one in inputs.dataset_inputs] if inputs else []
    logged = [one for one in there if not wanted or one.name == wanted]
    if len(logged) != 1:
        names = ", ".join(one.name for one in there) or "none"
        raise DatasetError(f"{source}: name one dataset of that run; it has: {names}")
    return _local_path(source, logged[0].source)


def _local_path(source: str, described: str) -> Path:
    """The path in MLflow's description of a source, which is JSON such as {"uri": "/data"}."""
    try:
        content = json.loads(described)
    except ValueError:
        content = {}
    uri = content.get("uri") if isinstance(content, dict) else None
    if isinstance(uri, str):
        parts = urlsplit(uri)
        if parts.scheme in ("", "file") and parts.netloc in ("", "localhost"):
            return Path(unquote(parts.path) if parts.scheme else uri)
    raise DatasetError(f"{source}: its source is no path on this machine: {described}")
