"""What the registry is told: who is champion, who was before, and how a rollout ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from model_store.errors import (
    ModelStoreError,
    NotRegisteredError,
    RegistryDownError,
    UngatedError,
)
from model_store.registry.address import shown
from model_store.registry.connection import speaking_to
from model_store.registry.promotion import FAILED, delete_alias, promote
from model_store.registry.reference import parse_model
from model_store.registry.versions import GATE_TAG, TAG, Registry
from rollout.errors import NotFoundError, RolloutError, UnreachableError
from rollout.types import Version

CHALLENGER = "challenger"
ROLLOUT_TAG = f"{TAG}rollout"  # of the version: how its rollout ended
MOST_TAG = 500  # characters; MLflow takes more, people read less


class Aliases(Protocol):
    """The registry's side of a rollout. All of it may be repeated; raises RolloutError.

    Attributes:
        address: the registry's tracking URI, without a name and password; empty: there is none.
    """

    @property
    def address(self) -> str:
        """See above."""

    def promoted(self, candidate: Version) -> None:
        """The candidate is champion, what was champion is previous, nobody is challenger."""

    def aborted(self, candidate: Version, why: str) -> None:
        """The candidate is no challenger any more; what is champion stays it."""


class RegistryAliases:
    """``Aliases`` of an MLflow registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @property
    def address(self) -> str:
        """See Aliases."""
        return shown(self._registry.uri)

    def promoted(self, candidate: Version) -> None:
        """See Aliases."""
        with _explained():
            # The gate was asked when the rollout began; by now the pods serve it.
            promote(self._registry, candidate.name, candidate.version, force=True)
            self._tag(candidate, "promoted")
            self._no_challenger(candidate)  # at last: by this name it is gone on with

    def aborted(self, candidate: Version, why: str) -> None:
        """See Aliases."""
        said = f"aborted: {why}"
        # A version that was deleted meanwhile is challenger no more, and bears no tags.
        with _explained(), contextlib.suppress(NotRegisteredError):
            self._tag(candidate, said if len(said) <= MOST_TAG else said[: MOST_TAG - 1] + "…")
            self._no_challenger(candidate)

    def _no_challenger(self, candidate: Version) -> None:
        """Unless it is another version by now."""
        if self._registry.aliases(candidate.name).get(CHALLENGER) != candidate.version:
            return
        with contextlib.suppress(NotRegisteredError):
            delete_alias(self._registry, candidate.name, CHALLENGER)

    def _tag(self, candidate: Version, text: str) -> None:
        with speaking_to(self._registry.uri):
            self._registry.client.set_model_version_tag(
                candidate.name, candidate.version, ROLLOUT_TAG, text
            )


class NoAliases:
    """``Aliases`` where no registry is found: the requests can go back all the same."""

    address = ""

    def promoted(self, candidate: Version) -> None:
        """See Aliases; refuses."""
        raise _not_told(candidate)

    def aborted(self, candidate: Version, why: str) -> None:
        """See Aliases; refuses."""
        raise _not_told(candidate)


def _not_told(candidate: Version) -> RolloutError:
    return RolloutError(
        f"how the rollout of {candidate.uri} ended cannot be recorded, its registry is not there: "
        "do the same again with --registry or MLFLOW_TRACKING_URI"
    )


def find_candidate(registry: Registry, uri: str) -> Version:
    """The version that ``uri`` means now, which passed its gate or was never put to one.

    Raises:
        UngatedError: its gate said no.
        NotFoundError: there is no such version.
        RolloutError: the registry does not say.
    """
    with _explained():
        found = registry.find(parse_model(uri))
        if found.tags.get(GATE_TAG) == FAILED:
            raise UngatedError(f"{found.reference} did not pass its gate: it is not rolled out")
    return Version(found.name, found.version, str(found.reference))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """The registry's errors as the rollout's."""
    try:
        yield
    except UngatedError:
        raise
    except RegistryDownError as error:
        raise UnreachableError(str(error)) from error
    except NotRegisteredError as error:
        raise NotFoundError(str(error)) from error
    except ModelStoreError as error:
        raise RolloutError(str(error)) from error
