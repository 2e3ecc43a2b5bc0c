"""The model repository of a pod as a frontend sees it: index, load, unload; guarded by a token."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from predictor.control import Message
from predictor.errors import (
    ModelControlError,
    UnauthorizedError,
    UnknownModelError,
    UnsupportedError,
)


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
        name: the model of this pod.
        version: the version of it.
        token: what a client must show; empty turns everything here off.
        ready: whether the model takes requests.
        tell: sends a message to the supervisor.
    """

    def __init__(
        self,
        name: str,
        version: str,
        token: str,
        ready: Callable[[], bool],
        tell: Callable[[Message], None],
    ) -> None:
        self._name = name
        self._version = version
        self._token = token.encode()
        self._ready = ready
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
        ready = self._ready()
        if only_ready and not ready:
            return []
        state, reason = ("READY", "") if ready else ("UNAVAILABLE", "unloaded or not ready")
        return [IndexEntry(self._name, self._version, state, reason)]

    async def control(self, action: str, name: str) -> None:
        """``load`` or ``unload`` the model ``name`` and wait until that is done.

        Raises:
            UnknownModelError: this pod has no such model.
            ModelControlError: it could not be done; says why.
        """
        if name != self._name:
            raise UnknownModelError(f"no model {name!r} here")
        number = self._next_number = self._next_number + 1
        done = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._tell(Message("control", {"number": number, "action": action}))
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
