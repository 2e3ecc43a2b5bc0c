"""How a new version of a model is published in a store.

A version appears whole or not at all: it is written beside the others in a hidden folder and
renamed into place. Two packagers at once get two versions. A packager that was killed leaves its
hidden folder behind, without the lock that it held; the next one clears it away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from model_store.errors import PackageError
from model_store.store import NAME, VERSION
from model_store.termination import cleared_at_sigterm

_STAGING = ".staging-"
_FOLDER_MODE = 0o755


@contextlib.contextmanager
def staging(store: Path, name: str) -> Iterator[Path]:
    """A hidden folder in which to prepare a version of ``name``; gone afterwards, come what may.

    Raises:
        PackageError: when the name is unfit, the folder cannot be made, or what is to be put into
            it cannot be read.
    """
    if not NAME.fullmatch(name):
        raise PackageError(
            f"{name!r} is no model name: 1 to 63 of a-z 0-9 - _ . "
            "with a letter or digit at both ends"
        )
    home = store / name
    try:
        with cleared_at_sigterm(), contextlib.ExitStack() as held:
            folder = _staging_folder(home, held)
            try:
                # mkdtemp keeps others out; a pod reads the package as another user.
                folder.chmod(_FOLDER_MODE)
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                _remove_if_empty(home)
    except OSError as error:
        raise PackageError(_what_failed(home, error)) from error


def _what_failed(home: Path, error: OSError) -> str:
    reason = error.strerror or error
    if isinstance(error.filename, str):
        place, store = Path(error.filename), home.parent
        if not (place.is_relative_to(store) or store.is_relative_to(place)):
            return f"{place}: cannot be read: {reason}"
    return f"{home}: cannot be written: {reason}"


def _staging_folder(home: Path, held: contextlib.ExitStack) -> Path:
    """A new one, locked as long as it is ``held``; what others left behind goes."""
    store = home.parent
    store.mkdir(parents=True, exist_ok=True)
    # Nobody else sweeps between the making of a folder and its lock.
    with _locked(store, wait=True) as alone:
        if alone:
            _sweep(store)
        folder = _made(home)
        held.enter_context(_locked(folder, wait=False))
        return folder


def _sweep(store: Path) -> None:
    """Remove the staging folders of packagers that were killed: nobody holds their locks."""
    for folder in store.glob(f"*/{_STAGING}*"):
        with contextlib.suppress(OSError), _locked(folder, wait=False) as left_behind:
            if left_behind:
                shutil.rmtree(folder, ignore_errors=True)
                _remove_if_empty(folder.parent)


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Whether the folder could be locked; some network file systems know no locks."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except OSError:
            locked = False
        yield locked
    finally:
        os.close(opened)


def _made(home: Path) -> Path:
    while True:
        home.mkdir(parents=True, exist_ok=True)
        try:
            return Path(tempfile.mkdtemp(prefix=_STAGING, dir=home))
        except FileNotFoundError:
            # Another packager failed just now and took the empty folder away.
            continue


def publish(folder: Path, write_version: Callable[[int], None]) -> Path:
    """Rename the staged ``folder`` to the next free version and return where it lies.

    ``write_version`` is told the number before, and again if another packager took it meanwhile.
    """
    home = folder.parent
    while True:
        number = max((int(p.name) for p in home.iterdir() if VERSION.fullmatch(p.name)), default=0)
        number += 1
        write_version(number)
        target = home / str(number)
        try:
            return folder.rename(target)
        except OSError:
            if not target.exists():
                raise


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
