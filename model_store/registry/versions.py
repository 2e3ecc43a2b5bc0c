"""What is registered: versions of models, their aliases and tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_store.errors import NotRegisteredError, RegistryDownError
from model_store.registry.address import database_file, shown
from model_store.registry.connection import connect, speaking_to
from model_store.registry.reference import ModelReference, RunReference

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "millrace."  # all tags of ours begin with it
SHA256_TAG = f"{TAG}sha256"  # of model.yaml, which has that of every file
GATE_TAG = f"{TAG}gate"
MOST_TOLD = 20  # models or versions in an error's line
_LOGGED_MODEL = re.compile(r"models:/+(?P<id>m-[0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One version of a registered model.

    Attributes:
        name: of the model.
        version: its number, as a text.
        aliases: that point to it, in order.
        tags: by name.
        source: URI of its artifacts.
        created_ms: milliseconds since 1970.
        run: that it came from; empty where there was none.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    source: str
    created_ms: int
    run: str

    @property
    def sha256(self) -> str:
        """Hex sha256 of its ``model.yaml``; empty where nobody said."""
        return self.tags.get(SHA256_TAG, "")

    @property
    def reference(self) -> ModelReference:
        """By its number."""
        return ModelReference(self.name, self.version)


class Registry:
    """Reads what is registered at ``uri``.

    Raises:
        RegistryError: MLflow is not installed, or there is nothing at ``uri``.
    """

    def __init__(self, uri: str, *, create: bool = False) -> None:
        self.uri = uri
        self.client: MlflowClient = connect(uri, create=create)

    def check_there(self) -> None:
        """Look whether the file of an embedded registry is at its place; costs next to nothing.

        Whoever has it open would go on reading what was moved away or deleted.

        Raises:
            RegistryDownError: it is not.
        """
        file = database_file(self.uri)
        if file is not None and not file.exists():
            raise RegistryDownError(f"registry {shown(self.uri)}: its file was moved or deleted")

    def find(
        self, reference: ModelReference, *, tell_what_exists: bool = True
    ) -> RegisteredVersion:
        """The version that ``reference`` means now.

        Raises:
            NotRegisteredError: there is none; says what there is, which takes more requests.
            RegistryDownError: the registry does not answer.
        """
        try:
            with speaking_to(self.uri):
                if reference.alias:
                    found = self.client.get_model_version_by_alias(reference.name, reference.alias)
                else:
                    found = self.client.get_model_version(reference.name, reference.version)
                return _version(found, found.aliases)
        except NotRegisteredError as error:
            there_is = self._what_exists(reference) if tell_what_exists else str(error)
            raise NotRegisteredError(f"no {reference}: {there_is}") from error

    def source(self, found: RegisteredVersion) -> str:
        """URI of the artifacts of a version.

        Raises:
            RegistryError: see ``speaking_to``.
        """
        with speaking_to(self.uri):
            uri = self.client.get_model_version_download_uri(found.name, found.version)
            if match := _LOGGED_MODEL.fullmatch(uri):
                return str(self.client.get_logged_model(match["id"]).artifact_location)
            return uri

    def run_source(self, reference: RunReference) -> str:
        """URI of a folder that a run logged: as a model, which MLflow 3 keeps apart, or as a file.

        Raises:
            NotRegisteredError: there is no such run.
            RegistryDownError: the registry does not answer.
        """
        name, _, rest = reference.path.partition("/")
        with speaking_to(self.uri):
            run = self.client.get_run(reference.run).info
            quoted = name.replace("'", "")
            search = self.client.search_logged_models
            for model in search([run.experiment_id], filter_string=f"name = '{quoted}'"):
                if model.source_run_id == reference.run:
                    return f"{model.artifact_location}/{rest}".rstrip("/")
        return f"{run.artifact_uri}/{reference.path}"

    def aliases(self, name: str) -> dict[str, str]:
        """The model's aliases: version by alias.

        Raises:
            NotRegisteredError: there is no such model.
            RegistryDownError: the registry does not answer.
        """
        with speaking_to(self.uri):
            return {a: str(v) for a, v in self.client.get_registered_model(name).aliases.items()}

    def versions(self, name: str = "") -> tuple[RegisteredVersion, ...]:
        """Every version of every model, or of one: by name, oldest first.

        Raises:
            RegistryError: see ``speaking_to``.
        """
        found = []
        with speaking_to(self.uri):
            for model in self._pages(self.client.search_registered_models, name):
                names = _by_version(model.aliases)
                versions = self._pages(self.client.search_model_versions, model.name)
                found += [_version(each, names.get(str(each.version), ())) for each in versions]
        return tuple(sorted(found, key=lambda each: (each.name, int(each.version))))

    def _pages(self, search: Any, name: str) -> list[Any]:
        found, token = [], None
        while True:
            page = search(filter_string=_only(name), page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _what_exists(self, reference: ModelReference) -> str:
        """The model's newest versions, or the names of some models; one page, however many."""
        where = f"the registry {shown(self.uri)}"
        versions = self._some(self.client.search_model_versions, reference.name)
        if not versions:
            names = [each.name for each in self._some(self.client.search_registered_models)]
            more = ", …" if len(names) > MOST_TOLD else ""
            return f"{where} has {', '.join(sorted(names[:MOST_TOLD])) or 'no models'}{more}"
        names_of = _by_version(self.aliases(reference.name))
        told = [
            number + "".join(f" @{alias}" for alias in sorted(names_of.get(number, ())))
            for number in sorted((str(each.version) for each in versions[:MOST_TOLD]), key=int)
        ]
        more = "…, " if len(versions) > MOST_TOLD else ""
        return f"{where} has {reference.name} {more}{', '.join(told)}"

    def _some(self, search: Any, name: str = "") -> list[Any]:
        with speaking_to(self.uri):
            return list(search(filter_string=_only(name), max_results=MOST_TOLD + 1))


def _only(name: str) -> str | None:
    quoted = name.replace("'", "")
    return f"name='{quoted}'" if name else None


def _by_version(aliases: Mapping[str, Any]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for alias, version in aliases.items():
        names.setdefault(str(version), []).append(alias)
    return names


def _version(found: Any, aliases: Any) -> RegisteredVersion:
    return RegisteredVersion(
        name=found.name,
        version=str(found.version),
        aliases=tuple(sorted(aliases)),
        tags=dict(found.tags),
        source=found.source or "",
        created_ms=int(found.creation_timestamp or 0),
        run=found.run_id or "",
    )
