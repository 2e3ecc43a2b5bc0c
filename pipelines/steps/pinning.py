"""The first step: what the names of a run mean now, and whether there is all that it will need.

Names come to mean other things: an alias is moved, a file is overwritten. So steps whose answers
are cached are told these digests besides, and a cached answer is one to the same question.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from analyzer.dataset_survey import Progress, survey
from analyzer.sources import open_datasets
from model_store.errors import NotRegisteredError
from model_store.network import external_files
from model_store.package import sha256_of
from model_store.registry.address import registry_uri, shown
from model_store.registry.promotion import CHAMPION
from model_store.registry.reference import ModelReference, names_registry, parse
from model_store.registry.registering import check_name
from model_store.registry.versions import Registry
from model_store.sources.kinds import Located, locate
from pipelines.errors import PipelineError
from pipelines.package_settings import PATHS, package_request


@dataclass(frozen=True, slots=True)
class Pins:
    """What was found.

    Attributes:
        source: digest of all that the package is made of.
        data: digest of all datasets.
        champion: ``models:/NAME/NUMBER``; empty where there is none yet.
        replaces: number of the version that the candidate is judged against and is to replace;
            empty where there is none, or where somebody named another one to compare with.
    """

    source: str
    data: str
    champion: str
    replaces: str


def pin(
    name: str,
    source: str,
    labels: Path,
    parity_images: Path,
    packaging: Mapping[str, Any],
    datasets: Sequence[str],
    champion: str,
    registry: str,
    progress: Progress,
) -> Pins:
    """Look at everything once.

    Args:
        name: of the model in the registry.
        source: as ``millrace package`` has it.
        labels: a file.
        parity_images: a folder.
        packaging: as ``package_request`` has it.
        datasets: as ``millrace analyze`` has them.
        champion: ``models:/NAME@ALIAS`` or ``…/NUMBER``; empty: the model's own champion.
        registry: tracking URI; empty as in ``registry_uri``.
        progress: told what is being read.

    Raises:
        PipelineError, ModelStoreError, AnalyzerError: something is not there.
    """
    check_name(name)
    request = package_request(Path(source), name, labels, parity_images, packaging)
    store = Registry(registry_uri(registry), create=True)
    files = {key: getattr(request, key) for key in ("labels", "parity_images", *PATHS)}
    for key, path in files.items():
        if path is not None and not path.exists():
            raise PipelineError(f"{key.replace('_', '-')}: {path}: no such file or folder")
    where = shown(store.uri)  # versions of another registry are others, of the same number
    told = [
        where,
        installed_version("millrace"),
        repr(sorted(packaging.items())),
        _source(source, request.checkpoint, store),
        *(_content(path) for path in files.values() if path is not None),
    ]
    best = _champion(name, champion, store)
    return Pins(
        source=_digest(told),
        data=_digest([where, _data(datasets, progress)]),
        champion="" if best is None else str(best),
        replaces="" if best is None or champion else str(best.version),
    )


def _source(source: str, checkpoint: Path | None, registry: Registry) -> str:
    if names_registry(source):
        reference = parse(source)
        if isinstance(reference, ModelReference):
            found = registry.find(reference)
            return f"{found.reference} {registry.source(found)}"
        return str(reference)
    found_here = locate(Path(source), checkpoint)
    if found_here.kind == "factory":
        # What the module imports or reads is anybody's guess: such a package is made each time.
        return source + secrets.token_hex()
    return _digest([_content(path) for path in _files(Path(source), found_here)])


def _files(source: Path, located: Located) -> tuple[Path, ...]:
    """Of a network: its file or folder, and the files beside it that hold the weights."""
    if not source.exists():
        raise PipelineError(f"source: {source}: no such file, folder or module:factory")
    if source.is_dir() or located.kind != "onnx":
        return (source,)
    try:
        files = (source, *external_files(source))
    except DecodeError:
        raise PipelineError(f"source: {source}: is not an ONNX file, or is truncated") from None
    if missing := [file for file in files if not file.is_file()]:
        raise PipelineError(f"source: {source}: its weights are missing: {missing[0]}")
    return files


def _content(path: Path) -> str:
    if path.is_file():
        return sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return _digest([f"{file.relative_to(path)} {sha256_of(file)}" for file in files])


def _data(datasets: Sequence[str], progress: Progress) -> str:
    if not datasets:
        raise PipelineError("datasets: name one at least")
    opened = open_datasets(datasets)
    alone = [open_datasets((one,))[0].name for one in datasets]
    for number, name in enumerate(alone):
        if name in alone[:number]:
            raise PipelineError(f"datasets: two are called {name!r}; write one as OTHER=SOURCE")
    return _digest([survey(one, progress, 0).digest for one in opened])


def _champion(name: str, champion: str, registry: Registry) -> ModelReference | None:
    wanted = parse(champion) if champion else ModelReference(name, alias=CHAMPION)
    if not isinstance(wanted, ModelReference):
        raise PipelineError(
            f"champion: {champion}: must be models:/NAME@ALIAS or models:/NAME/NUMBER"
        )
    try:
        return registry.find(wanted, tell_what_exists=False).reference
    except NotRegisteredError:
        if champion:
            raise
        return None  # the first version of a model has none to be compared with


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
