"""Files of an earlier analysis in the same folder that the newest one has no part in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from analyzer.errors import AnalyzerError

LIST_FILE = ".written.json"
DEEPEST = 2  # parts of a name that is listed: charts/x.png


def remove_stale(written: Sequence[Path], folder: Path) -> None:
    """Remove tables and charts that an earlier analysis wrote and this one has not.

    Only what an analysis itself put down in its list is removed; nothing else that lies there.

    Args:
        written: by this analysis, in ``folder``.
        folder: of the report.

    Raises:
        AnalyzerError: the folder cannot be written.
    """
    now = {file.relative_to(folder).as_posix() for file in written}
    try:
        for name in _listed(folder / LIST_FILE):
            if name not in now and _is_ours(name):
                (folder / name).unlink(missing_ok=True)
        (folder / LIST_FILE).write_text(json.dumps(sorted(now)), encoding="utf-8")
    except OSError as error:
        raise AnalyzerError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _listed(file: Path) -> list[str]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _is_ours(name: str) -> bool:
    """Whatever the list says: no file outside the folder, and of no other kind."""
    path = Path(name)
    inside = not path.is_absolute() and ".." not in path.parts and len(path.parts) <= DEEPEST
    return inside and path.suffix in (".csv", ".png")
