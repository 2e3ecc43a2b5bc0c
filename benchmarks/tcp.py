"""The TCP sockets of a process, as the kernel lists them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LISTEN = "0A"  # the kernel's number of that state
TABLES = ("tcp", "tcp6")


@dataclass(frozen=True, slots=True)
class Socket:
    """One of them."""

    local_port: int
    remote_port: int  # 0 for one that listens
    listens: bool


def sockets_of(pid: int) -> list[Socket]:
    """Those that ``pid`` has open; raises FileNotFoundError when it is gone."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[len("socket:[") : -1])
    lines: list[str] = []
    for table in TABLES:
        lines += Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]
    return parse_table(lines, inodes)


def parse_table(lines: Iterable[str], inodes: set[str]) -> list[Socket]:
    """The sockets with these inodes in lines of /proc/net/tcp, less its head."""
    found = []
    for line in lines:
        _, local, remote, state, *_, inode = line.split()[:10]
        if inode in inodes:
            found.append(Socket(_port(local), _port(remote), state == LISTEN))
    return found


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
