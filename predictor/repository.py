"""The model repository of a pod as a frontend sees it: index, load, unload; guarded by a token."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from predictor.control import Message
from predictor.errors import (
    BadRequestError,
    ModelControlError,
    UnauthorizedError,
    UnsupportedError,
)
from predictor.traffic import WHOLE
from predictor.versions import Versions


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One model version of the repository, in the words of Triton's extension."""

    name: str
    version: str
    state: str  # READY or UNAVAILABLE
    reason: str


class Repository:
    """Asks the supervisor, which alone can start and stop instances, and waits for its answer.

    Args:
        versions: of the model of this pod.
        token: what a client must show; empty turns everything here off.
        tell: sends a message to the supervisor.
    """

    def __init__(self, versions: Versions, token: str, tell: Callable[[Message], None]) -> None:
        self._versions = versions
        self._token = token.encode()
        self._tell = tell
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._next_number = secrets.randbits(31)  # answers to a predecessor are not for this one

    @property
    def open(self) -> bool:
        """Whether there is a token, and so a repository at all."""
        return bool(self._token)

    def check(self, authorization: str) -> None:
        """Let a request pass or refuse it.

        Args:
            authorization: the request's ``Authorization`` header, or its gRPC metadata.

        Raises:
            UnsupportedError: the repository is off.
            UnauthorizedError: no token, or another one.
        """
        if not self.open:
            raise UnsupportedError("the model repository is off; set repository_token to open it")
        scheme, _, given = authorization.partition(" ")
        shown = given.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() != "bearer" or not secrets.compare_digest(shown, self._token):
            raise UnauthorizedError("this needs Authorization: Bearer with the repository's token")

    def index(self, *, only_ready: bool) -> list[IndexEntry]:
        """What there is, and whether it takes requests."""
        name, draining = self._versions.name, self._versions.draining
        entries = []
        for served in self._versions:
            if served.ready and not draining:
                entries.append(IndexEntry(name, served.name, "READY", ""))
            elif not only_ready:
                reason = "unloaded or not ready"
                entries.append(IndexEntry(name, served.name, "UNAVAILABLE", reason))
        return entries

    async def control(self, action: str, name: str, parameters: Mapping[str, Any]) -> None:
        """Have something done with the model ``name``, and wait until it is.

        Args:
            action: ``load``, ``unload`` or ``traffic``.
            name: the model.
            parameters: ``load``: ``version``, a text, and ``traffic``, percent; ``unload``:
                ``version``; ``traffic``: ``traffic``, percent by version. Others are ignored.

        Raises:
            UnknownModelError: this pod has no such model.
            BadRequestError: a parameter is not what it must be.
            ModelControlError: it could not be done; says why.
        """
        self._versions.known(name)
        asked = _checked(action, parameters)
        number = self._next_number = self._next_number + 1
        done = self._waiting[number] = asyncio.get_running_loop().create_future()
        content = {"number": number, "action": action, "parameters": asked}
        self._tell(Message("control", content))
        try:
            error = await done
        finally:
            del self._waiting[number]
        if error:
            raise ModelControlError(f"{action} {name}: {error}")

    def answered(self, message: Message) -> None:
        """The supervisor has done what was asked, or says why not."""
        done = self._waiting.get(message.content["number"])
        if done is not None and not done.done():
            done.set_result(message.content["error"])


def _checked(action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that mean something to ``action``."""
    asked: dict[str, Any] = {}
    version = parameters.get("version")
    if action != "traffic" and version is not None:
        if not isinstance(version, str) or not version:
            raise BadRequestError('version must be a text, such as "2"')
        asked["version"] = version
    traffic = parameters.get("traffic")
    if action == "load" and traffic is not None:
        if not _is_percent(traffic):
            raise BadRequestError("traffic must be a whole number of percent, 0 to 100")
        asked["traffic"] = traffic
    elif action == "traffic":
        shares = traffic.values() if isinstance(traffic, dict) else ()
        if not all(map(_is_percent, shares)) or sum(shares) != WHOLE:
            raise BadRequestError(
                'traffic must be percent by version, 100 in all: {"1": 90, "2": 10}'
            )
        asked["traffic"] = traffic
    return asked


def _is_percent(value: object) -> bool:
    return type(value) is int and 0 <= value <= WHOLE
