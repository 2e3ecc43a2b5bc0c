"""Files and folders that are locked as long as whoever holds them lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from io import BufferedRandom
from pathlib import Path

from model_store.errors import RegistryError

_LOCK = "lock"  # the file in a locked folder


def open_regular(path: Path) -> BufferedRandom:
    """Open a file to append to it, or make it; whoever else writes here cannot turn us elsewhere.

    Raises:
        RegistryError: it is a link, or no file at all.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        opened = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RegistryError(f"{path}: is a link and no file; remove it") from error
        raise
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise RegistryError(f"{path}: is no regular file; remove it")
    return os.fdopen(opened, "a+b")


@contextlib.contextmanager
def locked_folder(home: Path) -> Iterator[Path]:
    """A new folder in ``home``, locked; gone afterwards."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=home))
        try:
            folder.chmod(0o755)  # mkdtemp keeps others out; a pod may read it as another user
            lock = open_regular(folder / _LOCK)
        except FileNotFoundError:
            continue  # it was swept away before it was locked
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_at(lock, folder / _LOCK):
                continue  # as above
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


def sweep(home: Path) -> None:
    """Remove what was left by those who were killed: their locks are open."""
    for folder in home.iterdir():
        if folder.is_symlink():
            continue  # nothing of ours, and nothing to follow
        # Another user's is left to them.
        with contextlib.suppress(OSError, RegistryError), open_regular(folder / _LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def is_at(file: BufferedRandom, path: Path) -> bool:
    """Whether the open ``file`` is the one at ``path``, and not one that was there before."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
