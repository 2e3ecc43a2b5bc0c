"""Where requests go: addresses as users write them, and the addresses that a name has now."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from loadgen.errors import LoadError
from loadgen.form import Protocol

Scheme = Literal["http", "https", "grpc"]
DEFAULT_PORTS: dict[Scheme, int] = {"http": 80, "https": 443, "grpc": 8081}

_WRITTEN = re.compile(
    r"(?P<resolved>dns\+)?(?:(?P<scheme>http|https|grpc)://)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?/?"
)

Resolve = Callable[[str, int], Sequence[str]]  # (name, port) to addresses; blocks; OSError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address.

    Attributes:
        scheme: what is spoken there.
        address: where to connect: a name or an IP address.
        port: of both.
        host: what the server is called in requests, and in TLS.
    """

    scheme: Scheme
    address: str
    port: int
    host: str

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        return f"{_bracketed(self.host)}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{_bracketed(self.address)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Source:
    """An endpoint as written, and whether it stands for all the addresses its name has."""

    endpoint: Endpoint
    resolved: bool

    def addresses(self, resolve: Resolve) -> tuple[Endpoint, ...]:
        """What it stands for now.

        Raises:
            OSError: the name cannot be resolved.
        """
        if not self.resolved:
            return (self.endpoint,)
        found = resolve(self.endpoint.host, self.endpoint.port)
        return tuple(replace(self.endpoint, address=address) for address in sorted(set(found)))


def parse(text: str, protocol: Protocol) -> Source:
    """Read an endpoint as users write it.

    Raises:
        LoadError: it is none, or not one of ``protocol``.
    """
    match = _WRITTEN.fullmatch(text)
    port = int(match["port"] or 0) if match else 0
    if match is None or port > 65535:
        raise LoadError(
            f"{text!r} is no endpoint: write http://host:port, grpc://host:port, host:port, or "
            "dns+http://name:port for every address of a name"
        )
    spoken = match["scheme"] or ("grpc" if protocol == "grpc" else "http")
    scheme: Scheme = next(known for known in DEFAULT_PORTS if known == spoken)
    if (scheme == "grpc") != (protocol == "grpc"):
        raise LoadError(f"{text} is not spoken to in protocol {protocol}")
    host = match["host"].strip("[]")
    return Source(
        Endpoint(scheme, host, port or DEFAULT_PORTS[scheme], host), bool(match["resolved"])
    )


def resolve(name: str, port: int) -> Sequence[str]:
    """The addresses of a name, from the system's resolver.

    Raises:
        OSError: it has none, or is no name.
    """
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label of more than 63 letters
        raise OSError(f"it is no name: {error}") from None
    return [str(address[0]) for *_, address in found]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
