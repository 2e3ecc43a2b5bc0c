"""A rollout's state in a file, for pods on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rollout.errors import ConflictError, RolloutError
from rollout.types import Kept


class FileLedger:
    """Keeps one state in ``path``; processes of this machine may share it.

    The file is replaced whole, so that whoever is killed leaves the old state or the new one. A
    lock beside it (``PATH.lock``) is held for the moment of a change, never for a rollout.

    Args:
        path: the file; made with its folders when there is something to keep.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Kept | None:
        """What is kept; None if nothing is.

        Raises:
            RolloutError: the file cannot be read, or is none of ours.
        """
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise RolloutError(f"{self._path}: cannot be read: {_why(error)}") from None
        try:
            found = json.loads(text)
            return Kept(str(found["state"]), str(int(found["revision"])))
        except (ValueError, KeyError, TypeError):
            raise RolloutError(
                f"{self._path}: is no state of a rollout; look at it, then move it away"
            ) from None

    def write(self, state: str, revision: str | None) -> str:
        """Keep ``state`` in place of what had ``revision`` (None: of nothing); gives the new mark.

        Raises:
            ConflictError: somebody else wrote meanwhile.
            RolloutError: the file cannot be written.
        """
        try:
            with self._locked():
                kept = self.read()
                there = None if kept is None else kept.revision
                if there != revision:
                    raise ConflictError(
                        f"{self._path}: another process wrote it meanwhile; read it again"
                    )
                new = str(int(there or 0) + 1)
                self._replace(json.dumps({"revision": int(new), "state": state}))
                return new
        except OSError as error:
            raise RolloutError(f"{self._path}: cannot be written: {_why(error)}") from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with Path(f"{self._path}.lock").open("a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield  # closing the file unlocks it

    def _replace(self, text: str) -> None:
        """On the disk before it is in its place: a machine that loses power has old or new."""
        opened, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(opened, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _why(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
