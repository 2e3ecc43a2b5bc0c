"""One pod's model repository: which versions it has, how requests are shared, load and unload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from model_store.registry.address import shown
from rollout.errors import ForbiddenError, NotFoundError, RolloutError, UnreachableError

TIMEOUT_S = 30.0
# Loading reads and checks a package, starts processes and warms up every batch size.
LOAD_TIMEOUT_S = 900.0
READY = "READY"


class RefusedError(RolloutError):
    """The pod will not do it, whoever asks and however often; the text is its reason."""


class PodRepository:
    """Speaks to one pod.

    Args:
        url: ``http://HOST:PORT``.
        model: the name it is served under.
        token: of the pod's repository.

    Attributes:
        address: of the pod, to be asked.
        url: the same to be shown, without a name and password.
        model: see above.
    """

    def __init__(self, url: str, model: str, token: str) -> None:
        self.address = url.rstrip("/")
        self.url = shown(self.address)
        self.model = model
        self._client = httpx.Client(timeout=TIMEOUT_S, headers={"Authorization": f"Bearer {token}"})

    def ready(self) -> frozenset[str]:
        """Versions that take requests.

        Raises:
            RolloutError: see ``_ask``.
        """
        entries = self._ask("POST", "index", {}, path="/v2/repository/index")
        return frozenset(
            str(entry["version"])
            for entry in entries
            if entry["name"] == self.model and entry["state"] == READY
        )

    def shares(self) -> dict[str, int]:
        """Percent of the requests by version, in the order in which they were loaded."""
        found = self._ask("GET", "traffic")
        return {str(version): int(share) for version, share in found["traffic"].items()}

    def share(self, shares: Mapping[str, int]) -> None:
        """Share requests out like this from now on; 100 in all, and no version left out."""
        self._ask("POST", "traffic", {"traffic": dict(shares)})

    def load(self, version: str, share: int | None = None) -> None:
        """Load a version and wait until it is; without ``share`` it takes all, the others go."""
        parameters: dict[str, Any] = {"version": version}
        if share is not None:
            parameters["traffic"] = share
        self._ask("POST", "load", {"parameters": parameters}, timeout_s=LOAD_TIMEOUT_S)

    def unload(self, version: str) -> None:
        """Let a version answer what it has, and go; nothing if it is not there."""
        try:
            parameters = {"version": version}
            self._ask("POST", "unload", {"parameters": parameters}, timeout_s=LOAD_TIMEOUT_S)
        except RefusedError as error:
            if "is not loaded" not in str(error):
                raise

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _ask(
        self,
        method: str,
        action: str,
        content: object = None,
        *,
        path: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        """What the pod answers.

        Raises:
            UnreachableError: it does not, or is not ready.
            ForbiddenError: its token is another one.
            NotFoundError: it has no such model, or its repository is off.
            RefusedError: it will not; says why.
        """
        address = self.address + (path or f"/v2/repository/models/{self.model}/{action}")
        try:
            answer = self._client.request(method, address, json=content, timeout=timeout_s)
            told = answer.json()
        except httpx.InvalidURL as error:
            raise RolloutError(f"{self.url}: is no address of a pod: {error}") from None
        except httpx.TransportError as error:
            raise UnreachableError(
                f"{self.url}: cannot be asked: {error or type(error).__name__}"
            ) from None
        except ValueError:
            raise RolloutError(
                f"{self.url}: {answer.status_code}, and no JSON; is it a pod of Millrace?"
            ) from None
        if not answer.is_success:
            raise self._problem(answer.status_code, told)
        return told

    def _problem(self, status: int, told: Any) -> RolloutError:
        reason = str(told.get("error", told) if isinstance(told, dict) else told)
        text = f"{self.url}: {reason}"
        if status in (401, 403):
            return ForbiddenError(f"{text}; give the token that the pod has as repository_token")
        if status in (404, 501):
            return NotFoundError(text)
        if status in (429, 502, 503, 504):
            return UnreachableError(text)
        return RefusedError(text)
