"""Where a pod's model comes from: a folder, or a registry that it is fetched from first.

MLflow is kept out of the supervisor: a process that ends again does the fetching.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_store.errors import ModelStoreError, RegistryDownError, RegistryError
from model_store.package import MANIFEST_FILE, ModelPackage, load_package, sha256_of
from model_store.registry.address import registry_uri
from model_store.registry.record import recall, remember
from model_store.registry.reference import names_registry, parse_model
from model_store.store import resolve
from predictor.errors import StartupError
from predictor.follower_order import FollowerOrder
from predictor.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A package to serve and where it came from.

    Attributes:
        package: what to serve at first.
        uri: of the registry's version or alias; empty for a folder.
        registry: its tracking URI.
        problem: why the registry did not answer; empty where it did.
    """

    package: ModelPackage
    uri: str = ""
    registry: str = ""
    problem: str = ""

    def order(self, settings: Settings, model_name: str) -> FollowerOrder:
        """For a follower of this source."""
        return FollowerOrder(
            model_name=model_name,
            uri=self.uri,
            registry=self.registry,
            cache=str(settings.cache.absolute()),
            interval_s=settings.follow_interval_s,
            version=self.package.version,
            log_level=settings.log_level,
        )

    def served(self, settings: Settings, package: ModelPackage) -> None:
        """Note what is served, so that the pod can start again while the registry is away."""
        if not self.uri:
            return
        try:
            remember(settings.cache.absolute(), self.uri, self.registry, package)
        except RegistryError as error:
            logger.warning("%s; without the registry this pod could not start again", error)


def find_model(reference: str, settings: Settings, *, by_name: bool = True) -> ModelSource:
    """What ``reference`` means: a name in the store, a path, or a URI of a registry.

    Without ``by_name`` it is the last two only. Where the registry does not answer, or what it
    names cannot be had, it is what was served last by that URI.

    Raises:
        ModelStoreError: there is no such package; says what there is.
        StartupError: it cannot be followed, or is not the one that ``package_sha256`` asks for.
    """
    found = _find(reference, settings, by_name)
    if settings.package_sha256:
        is_there = sha256_of(found.package.path / MANIFEST_FILE)
        if is_there != settings.package_sha256:
            raise StartupError(
                f"package_sha256: {found.package.path} is {is_there}, and not "
                f"{settings.package_sha256}: another package lies there than was asked for"
            )
    return found


def _find(reference: str, settings: Settings, by_name: bool) -> ModelSource:
    if not names_registry(reference):
        if settings.follow:
            raise StartupError(f"follow: {reference} is no alias such as models:/NAME@champion")
        path = resolve(reference, settings.store) if by_name else Path(reference)
        return ModelSource(load_package(path))
    wanted = parse_model(reference)
    if settings.follow and not wanted.alias:
        raise StartupError(f"follow: {wanted} is one version; name an alias: models:/NAME@champion")
    uri, registry = str(wanted), registry_uri(settings.registry)
    try:
        return ModelSource(load_package(_fetch(uri, registry, settings)), uri, registry)
    except ModelStoreError as error:
        return _served_last(uri, registry, error, settings)


def _served_last(
    uri: str, registry: str, problem: ModelStoreError, settings: Settings
) -> ModelSource:
    path = recall(settings.cache.absolute(), uri, registry)
    if path is None:
        if not isinstance(problem, RegistryDownError):
            raise problem
        raise RegistryError(f"{problem}; nothing in {settings.cache} was served as {uri} before")
    package = load_package(path)
    logger.warning(
        "%s: serving version %s of %s from %s, which was served last",
        problem,
        package.version,
        package.name,
        settings.cache,
    )
    down = isinstance(problem, RegistryDownError)
    return ModelSource(package, uri, registry, str(problem) if down else "")


def _fetch(uri: str, registry: str, settings: Settings) -> Path:
    """The folder that ``model_store.registry.fetch`` prints.

    Raises:
        RegistryDownError, RegistryError: it printed that, or nothing.
    """
    command = [sys.executable, "-m", "model_store.registry.fetch"]
    with _stoppable():
        ran = subprocess.run(  # noqa: S603 (our own program)
            [*command, uri, registry, str(settings.cache.absolute())],
            stdout=subprocess.PIPE,
            check=False,
            start_new_session=True,  # a Ctrl-C in the terminal is for us alone; we end it then
        )
    try:
        told: dict[str, Any] = json.loads(ran.stdout)
    except ValueError:
        raise RegistryError(f"{uri}: fetching it ended with code {ran.returncode}") from None
    if "path" in told:
        return Path(told["path"])
    raise (RegistryDownError if told["down"] else RegistryError)(told["error"])


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Exit when told to stop meanwhile, also as a container's first process, which ignores it."""

    def stop(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
