"""A PostgreSQL server of a test's own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.registry.server import free_port

READY = b"ready to accept connections"


def binaries() -> Path | None:
    """The folder of Debian's newest PostgreSQL, or of whichever is on the path; None: none."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: file.parts)
    found = newest[-1] if newest else shutil.which("initdb")
    return Path(found).parent if found else None


def _unprivileged() -> str | None:
    """Who runs it: PostgreSQL refuses root. None: whoever we are."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextlib.contextmanager
def running(programs: Path) -> Iterator[str]:
    """A server on the loopback with one empty database; gives its SQLAlchemy URL."""
    user = _unprivileged()
    port = free_port()
    # Not in pytest's folder, which is closed to other users.
    with tempfile.TemporaryDirectory(prefix="millrace-postgres-") as folder:
        data = Path(folder) / "data"
        if user is not None:
            shutil.chown(folder, user)
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "millrace", "-A", "trust", "-E", "UTF8"],
            check=True,
            capture_output=True,
            user=user,
            cwd=folder,
        )
        server = subprocess.Popen(
            [
                *(programs / "postgres", "-D", data, "-p", str(port), "-k", folder),
                *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
            ],
            stderr=subprocess.PIPE,
            user=user,
            cwd=folder,
        )
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if READY in line:
                    break
            yield f"postgresql+psycopg2://millrace@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            server.communicate()
