"""What is registered: versions of models, their aliases and tags."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_store.errors import NotRegisteredError
from model_store.registry.address import shown
from model_store.registry.connection import connect, speaking_to
from model_store.registry.reference import ModelReference, RunReference

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "millrace."  # all tags of ours begin with it
SHA256_TAG = f"{TAG}sha256"  # of model.yaml, which has that of every file
GATE_TAG = f"{TAG}gate"
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
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    source: str
    created_ms: int

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

    def find(self, reference: ModelReference) -> RegisteredVersion:
        """The version that ``reference`` means now.

        Raises:
            NotRegisteredError: there is none; says what there is.
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
            raise NotRegisteredError(f"no {reference}: {self._what_exists(reference)}") from error

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
                names: dict[str, list[str]] = {}
                for alias, version in model.aliases.items():
                    names.setdefault(str(version), []).append(alias)
                versions = self._pages(self.client.search_model_versions, model.name)
                found += [_version(each, names.get(str(each.version), ())) for each in versions]
        return tuple(sorted(found, key=lambda each: (each.name, int(each.version))))

    def _pages(self, search: Any, name: str) -> list[Any]:
        quoted = name.replace("'", "")
        only = f"name='{quoted}'" if name else None
        found, token = [], None
        while True:
            page = search(filter_string=only, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _what_exists(self, reference: ModelReference) -> str:
        versions = self.versions(reference.name)
        where = f"the registry {shown(self.uri)}"
        if not versions:
            names = sorted({each.name for each in self.versions()})
            return f"{where} has {', '.join(names) or 'no models'}"
        each = (v.version + "".join(f" @{alias}" for alias in v.aliases) for v in versions)
        return f"{where} has {reference.name} {', '.join(each)}"


def _version(found: Any, aliases: Any) -> RegisteredVersion:
    return RegisteredVersion(
        name=found.name,
        version=str(found.version),
        aliases=tuple(sorted(aliases)),
        tags=dict(found.tags),
        source=found.source or "",
        created_ms=int(found.creation_timestamp or 0),
    )
