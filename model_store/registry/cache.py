"""Files fetched from registries, each once: by their sha256, whole and right or not there.

    <cache>/files/<sha256>            what has been verified
    <cache>/partial/<sha256>          what is being fetched; continued by whoever comes next
    <cache>/packages/<sha256>/…       package folders, of hard links to the files
    <cache>/staging/…                 what is about to become one; locked as long as somebody is

Processes, of other containers too, share a cache. Whoever fetches a file holds a lock on its
partial one; the others wait, and find it there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from io import BufferedRandom
from pathlib import Path

from model_store.errors import RegistryDownError, RegistryError
from model_store.package import sha256_of
from model_store.registry.artifacts import NO_SPACE, Artifacts, Stream
from model_store.registry.locks import is_at, locked_folder, open_regular, sweep

# Waits before the next try; each try goes on from where the last one stopped, and one that got a
# byte begins the list anew.
PAUSES_S = (0.5, 1.0, 2.0)
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
LARGEST_FILE_BYTES = 16 << 30  # an image classifier's weights are far below


class Cache:
    """The folder ``folder``; made when it is needed."""

    def __init__(self, folder: Path, pause: Callable[[float], None] = time.sleep) -> None:
        self.folder = folder
        self._pause = pause

    def file(
        self, sha256: str, artifacts: Artifacts, path: str, at_most: int = LARGEST_FILE_BYTES
    ) -> Path:
        """The file with this content; where it is not here yet, ``path`` among ``artifacts``.

        Nothing is written where it is here. ``at_most`` so many bytes are fetched.

        Raises:
            RegistryDownError: the registry does not answer, or no longer.
            RegistryError: the file there has other content or no end, or cannot be written here.
        """
        final = self.folder / "files" / sha256
        if self._right(final, sha256):
            return final
        with self.writing(), self._partial(sha256) as partial:
            if self._right(final, sha256):  # somebody else has been here meanwhile
                (self.folder / "partial" / sha256).unlink(missing_ok=True)
                return final
            self._fetch(partial, sha256, artifacts, path, at_most)
            (self.folder / "partial" / sha256).replace(final)
        return final

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the disk refuses into one line.

        Raises:
            RegistryError: it does.
        """
        try:
            yield
        except OSError as error:
            raise RegistryError(
                f"{self.folder}: cannot be written: {error.strerror or error}"
            ) from error

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder beside the others in which to prepare one; gone afterwards, come what may.

        So are those of others that were killed.
        """
        home = self.folder / "staging"
        home.mkdir(parents=True, exist_ok=True)
        sweep(home)
        with locked_folder(home) as folder:
            staged = folder / "package"
            staged.mkdir()
            staged.chmod(0o755)  # whatever the umask: a pod may read it as another user
            yield staged

    @contextlib.contextmanager
    def alone(self, final: Path) -> Iterator[None]:
        """Nobody else who asks this puts anything at ``final`` meanwhile, or takes it away."""
        final.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX)
            yield
        finally:
            os.close(opened)

    def publish(self, staged: Path, final: Path) -> None:
        """Put a prepared folder in its place at once; one that is there already goes."""
        final.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                staged.rename(final)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            with self.staging() as grave, contextlib.suppress(FileNotFoundError):
                final.rename(grave / "old")  # whoever has it open goes on reading it

    def _right(self, file: Path, sha256: str) -> bool:
        try:
            return sha256_of(file) == sha256
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise RegistryError(f"{file}: cannot be read: {error.strerror}") from error

    @contextlib.contextmanager
    def _partial(self, sha256: str) -> Iterator[BufferedRandom]:
        """The partial file, locked; it is at its place as long as it is locked."""
        for name in ("files", "partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        path = self.folder / "partial" / sha256
        while True:
            with open_regular(path) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if is_at(file, path):
                    yield file
                    return
            # Whoever held it before us has put it in its place, and is done.

    def _fetch(
        self, partial: BufferedRandom, sha256: str, artifacts: Artifacts, path: str, at_most: int
    ) -> None:
        """Fill ``partial``, from where it was left.

        Raises:
            RegistryDownError, RegistryError: as ``file``.
        """
        resumed = partial.seek(0, os.SEEK_END) > 0
        found = _hash(partial) if resumed else ""
        if found != sha256:
            self._download(partial, artifacts, path, at_most)
            found = _hash(partial)
        if found != sha256 and resumed:  # what was there before was no good
            partial.truncate(0)
            self._download(partial, artifacts, path, at_most)
            found = _hash(partial)
        if found != sha256:
            partial.truncate(0)
            raise RegistryError(
                f"{path}: its sha256 in the registry differs from the one it was registered with"
            )
        partial.flush()
        os.fsync(partial.fileno())
        os.fchmod(partial.fileno(), 0o644)

    def _download(
        self, partial: BufferedRandom, artifacts: Artifacts, path: str, at_most: int
    ) -> None:
        pauses = iter(PAUSES_S)
        while True:
            before = partial.seek(0, os.SEEK_END)
            try:
                with artifacts.read(path, before) as stream:
                    _append(partial, stream, path, at_most)
                return
            except RegistryDownError:
                if partial.seek(0, os.SEEK_END) > before:
                    pauses = iter(PAUSES_S)
                pause = next(pauses, None)
                if pause is None:
                    raise
                self._pause(pause)


def _append(partial: BufferedRandom, stream: Stream, path: str, at_most: int) -> None:
    size = stream.begins_at
    if size > partial.seek(0, os.SEEK_END):
        raise RegistryError(f"{path}: the registry sends it from a byte on that nobody asked for")
    try:
        partial.truncate(size)
        for block in stream.blocks:
            size += len(block)
            if size > at_most:
                partial.truncate(0)
                raise RegistryError(f"{path}: is larger than {at_most} bytes")
            partial.write(block)
            partial.flush()
    except OSError as error:
        if error.errno in NO_SPACE:
            partial.truncate(0)  # what is left of the disk is somebody's who needs it
        raise


def link(file: Path, to: Path) -> None:
    """Have the content of ``file`` at ``to`` as well, by a copy where links are not known."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        to.hardlink_to(file)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(file, to)


def _hash(file: BufferedRandom) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()
