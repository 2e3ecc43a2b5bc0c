"""The files of a registered model, wherever the registry keeps them, from any byte on."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from model_store.errors import NotRegisteredError, RegistryDownError, RegistryError, one_line
from model_store.registry.address import shown
from model_store.registry.connection import reason, speaking_to

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository
    from requests import Response

BLOCK_BYTES = 1 << 20
SILENCE_S = 10  # without a byte, and the registry counts as gone
_OK, _PARTIAL, _NOT_FOUND, _BEYOND, _TOO_MANY, _SERVER = 200, 206, 404, 416, 429, 500


@dataclass(frozen=True, slots=True)
class Stream:
    """A file's bytes from the one at ``begins_at`` on, which may be earlier than was asked for."""

    begins_at: int
    blocks: Iterator[bytes]


class Artifacts(Protocol):
    """A folder of files."""

    def read(self, path: str, offset: int) -> contextlib.AbstractContextManager[Stream]:
        """The file at ``path`` from ``offset`` on, or from its beginning where that cannot be.

        Raises:
            NotRegisteredError: there is no such file.
            RegistryDownError: nobody answers, or the bytes stop coming; also while reading.
        """


def open_artifacts(source: str, uri: str) -> Artifacts:
    """The files at the URI ``source``, of the registry at ``uri``.

    Raises:
        RegistryError: MLflow knows no such place.
    """
    parts = urlsplit(source)
    if not parts.scheme:
        return FolderArtifacts(Path(source))
    if parts.scheme == "file":
        return FolderArtifacts(Path(unquote(parts.path)))
    repository = _repository(source, uri)
    root = getattr(repository, "artifact_uri", "")
    if urlsplit(root).scheme in ("http", "https"):
        return HttpArtifacts(root)
    return OtherArtifacts(repository)


def download_folder(source: str, uri: str, to: Path) -> None:
    """Copy all files below the URI ``source`` into the folder ``to``.

    Raises:
        RegistryError: there are none, or the registry does not answer.
    """
    with speaking_to(uri):
        _repository(source, uri).download_artifacts("", str(to))


def _repository(source: str, uri: str) -> ArtifactRepository:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with speaking_to(uri):
        return get_artifact_repository(source, tracking_uri=uri, registry_uri=uri)


class FolderArtifacts:
    """Files of an embedded registry: a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def read(self, path: str, offset: int) -> Iterator[Stream]:
        """See ``Artifacts``."""
        file = self._folder / path
        try:
            with file.open("rb") as stream:
                stream.seek(offset)
                yield Stream(offset, _blocks(stream))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotRegisteredError(f"{file}: was moved or deleted") from error


class HttpArtifacts:
    """Files that MLflow's server hands out; it continues where it is asked to, if it can."""

    def __init__(self, root: str) -> None:
        self._root = root

    @contextlib.contextmanager
    def read(self, path: str, offset: int) -> Iterator[Stream]:
        """See ``Artifacts``."""
        response = self._ask(path, offset)
        if response.status_code == _BEYOND:
            response.close()
            response = self._ask(path, 0)
        with response:
            self._check(response, path)
            begins_at = _begin(response) if response.status_code == _PARTIAL else 0
            yield Stream(begins_at, self._body(response, path))

    def _ask(self, path: str, offset: int) -> Response:
        from mlflow.exceptions import MlflowException
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        headers = {"Accept-Encoding": "identity"} | (
            {"Range": f"bytes={offset}-"} if offset else {}
        )
        try:
            return http_request(
                get_default_host_creds(self._root),
                "/" + quote(path),
                "GET",
                stream=True,
                extra_headers=headers,
                timeout=SILENCE_S,
                max_retries=0,  # whoever reads tries again, from where it was
                raise_on_status=False,
            )
        except MlflowException as error:
            raise RegistryDownError(f"{self._at(path)}: {reason(error)}") from error

    def _check(self, response: Response, path: str) -> None:
        code = response.status_code
        if code == _NOT_FOUND:
            raise NotRegisteredError(f"{self._at(path)}: was moved or deleted")
        if code >= _SERVER or code == _TOO_MANY:
            raise RegistryDownError(f"{self._at(path)}: HTTP {code}")
        if code not in (_OK, _PARTIAL):
            raise RegistryError(f"{self._at(path)}: HTTP {code}")

    def _body(self, response: Response, path: str) -> Iterator[bytes]:
        from requests import RequestException

        # A proxy may compress although it is asked not to; the length is of what it sends then.
        as_it_is = "Content-Encoding" not in response.headers
        expected = int(response.headers.get("Content-Length", -1)) if as_it_is else -1
        got = 0
        try:
            for block in response.iter_content(BLOCK_BYTES):
                got += len(block)
                yield block
        except RequestException as error:
            raise RegistryDownError(f"{self._at(path)}: the download broke off") from error
        if got < expected:
            raise RegistryDownError(f"{self._at(path)}: the download broke off")

    def _at(self, path: str) -> str:
        return f"{shown(self._root)}/{path}"


class OtherArtifacts:
    """Files of object stores and the like: MLflow fetches them whole."""

    def __init__(self, repository: ArtifactRepository) -> None:
        self._repository = repository

    @contextlib.contextmanager
    def read(self, path: str, offset: int) -> Iterator[Stream]:
        """See ``Artifacts``."""
        with (
            tempfile.TemporaryDirectory(prefix="millrace-fetch-") as folder,
            self._file(path, folder).open("rb") as stream,
        ):
            yield Stream(0, _blocks(stream))

    def _file(self, path: str, folder: str) -> Path:
        try:
            return Path(self._repository.download_artifacts(path, folder))
        # Every object store has errors of its own, none of which says whether the file is missing.
        except Exception as error:
            raise RegistryDownError(
                f"{shown(self._repository.artifact_uri)}/{path}: {one_line(error)[:200]}"
            ) from error


def _begin(response: Response) -> int:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else 0


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    read: Any = stream.read
    while block := read(BLOCK_BYTES):
        yield block
