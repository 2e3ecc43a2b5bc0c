"""The files of a registered model, wherever the registry keeps them, from any byte on."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote, urlsplit

from model_store.errors import NotRegisteredError, RegistryDownError, RegistryError, one_line
from model_store.registry.address import shown
from model_store.registry.connection import reason, speaking_to

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository
    from requests import Response

BLOCK_BYTES = 1 << 20
SILENCE_S = 10  # without a byte, and the registry counts as gone
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Denied is not for ever either: a token is renewed, a mount comes back.
_DENIED = (401, 403)
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
        with _opened(file) as stream:
            begins_at = min(offset, os.fstat(stream.fileno()).st_size)
            stream.seek(begins_at)
            yield Stream(begins_at, _blocks(stream, file))


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
            begins_at = self._begin(response, path) if response.status_code == _PARTIAL else 0
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
        if code >= _SERVER or code in (_TOO_MANY, *_DENIED):
            raise RegistryDownError(f"{self._at(path)}: HTTP {code}")
        if code not in (_OK, _PARTIAL):
            raise RegistryError(f"{self._at(path)}: HTTP {code}")

    def _body(self, response: Response, path: str) -> Iterator[bytes]:
        from requests import RequestException

        # A proxy may compress although it is asked not to; the length is of what it sends then.
        as_it_is = "Content-Encoding" not in response.headers
        length = response.headers.get("Content-Length", "") if as_it_is else ""
        expected = self._number(length, path) if length else 0
        got = 0
        try:
            for block in response.iter_content(BLOCK_BYTES):
                got += len(block)
                yield block
        except RequestException as error:
            raise RegistryDownError(f"{self._at(path)}: the download broke off") from error
        if got < expected:
            raise RegistryDownError(f"{self._at(path)}: the download broke off")

    def _begin(self, response: Response, path: str) -> int:
        range_ = response.headers.get("Content-Range", "")
        return self._number(range_.removeprefix("bytes ").partition("-")[0], path)

    def _number(self, text: str, path: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
            raise RegistryError(f"{self._at(path)}: the registry says {text[:40]!r}, not a number")
        return int(text)

    def _at(self, path: str) -> str:
        return f"{shown(self._root)}/{path}"


class OtherArtifacts:
    """Files of object stores and the like: MLflow fetches them whole."""

    def __init__(self, repository: ArtifactRepository) -> None:
        self._repository = repository

    @contextlib.contextmanager
    def read(self, path: str, offset: int) -> Iterator[Stream]:
        """See ``Artifacts``."""
        with contextlib.ExitStack() as until_read:
            try:
                temporary = tempfile.TemporaryDirectory(prefix="millrace-fetch-")
            except OSError as error:
                raise RegistryError(f"no folder for downloads: {one_line(error)}") from error
            file = self._file(path, until_read.enter_context(temporary))
            stream = until_read.enter_context(_opened(file))
            yield Stream(0, _blocks(stream, file))

    def _file(self, path: str, folder: str) -> Path:
        try:
            return Path(self._repository.download_artifacts(path, folder))
        # Every object store has errors of its own, none of which says whether the file is missing.
        except Exception as error:
            if full := next((c for c in NO_SPACE if os.strerror(c) in str(error)), None):
                raise RegistryError(
                    f"{tempfile.gettempdir()}: cannot be written: {os.strerror(full)}; "
                    "TMPDIR names another folder"
                ) from error
            raise RegistryDownError(
                f"{shown(self._repository.artifact_uri)}/{path}: {one_line(error)[:200]}"
            ) from error


@contextlib.contextmanager
def _source(file: Path) -> Iterator[None]:
    """Tell what is wrong with a source as such: whoever writes it elsewhere has other trouble."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotRegisteredError(f"{file}: was moved or deleted") from error
    except OSError as error:
        why = error.strerror or error
        raise RegistryDownError(f"{file}: the registry's file cannot be read: {why}") from error


def _opened(file: Path) -> IO[bytes]:
    with _source(file):
        return file.open("rb")


def _blocks(stream: IO[bytes], file: Path) -> Iterator[bytes]:
    while True:
        with _source(file):
            block = stream.read(BLOCK_BYTES)
        if not block:
            return
        yield block
