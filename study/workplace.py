"""A folder for a study's packages and its pods' logs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.errors import StudyError


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder that is gone afterwards; its logs stay where a study fails, since it names them."""
    folder = Path(tempfile.mkdtemp(prefix="millrace-study-"))
    try:
        yield folder
    except StudyError:
        _keep_logs(folder)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _keep_logs(folder: Path) -> None:
    """Everything else goes; without logs the folder too."""
    for entry in list(folder.iterdir()):
        if entry.suffix != ".log":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
