"""The files in which a pod's processes keep their Prometheus numbers, also when they have died.

``prometheus_client`` has one file per process and kind, and lets those of the dead lie, since what
they counted still counts. Here it is added to one file of all the dead, so that files do not pile
up in a pod whose processes die often, and a scrape stays as quick as it was.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead

ADDED_UP = ("counter", "histogram")  # gauges go with their process
NOBODY = 0  # no process has this number
LOCK_FILE = "lock"


def bury(pid: int, folder: Path) -> None:
    """Add what a dead process counted to what all the dead did, and remove its files."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    with _locked(folder, fcntl.LOCK_EX):
        for kind in ADDED_UP:
            file = folder / f"{kind}_{pid}.db"
            if file.exists():
                _add(file, folder / f"{kind}_{NOBODY}.db")
                file.unlink()


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Nobody is buried meanwhile, so nothing is counted twice or not at all."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


def _add(file: Path, to: Path) -> None:
    total = MmapedDict(str(to))  # type: ignore[no-untyped-call]
    try:
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            known, known_at = total.read_value(key)  # type: ignore[no-untyped-call]
            total.write_value(key, known + value, max(known_at, timestamp))  # type: ignore[no-untyped-call]
    finally:
        total.close()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    with (folder / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, how)
        yield  # closing the file unlocks it
