"""``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` and ``runs:/ID/PATH``, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass

from model_store.errors import RegistryError

_SCHEMES = ("models:/", "runs:/")
# What MLflow allows in names and aliases, less what no URI could carry.
_MODEL = re.compile(
    r"models:/+(?P<name>[^/:@%\s]+)(?:@(?P<alias>[A-Za-z0-9_-]+)|/(?P<version>[1-9][0-9]{0,8}))"
)
_RUN = re.compile(r"runs:/+(?P<run>[0-9a-zA-Z_-]+)/(?P<path>[^\s]+)")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A version of a registered model, by its number or by an alias: the other one is empty."""

    name: str
    version: str = ""
    alias: str = ""

    def __str__(self) -> str:
        return f"models:/{self.name}" + (f"@{self.alias}" if self.alias else f"/{self.version}")


@dataclass(frozen=True, slots=True)
class RunReference:
    """A folder among the artifacts of a run."""

    run: str
    path: str

    def __str__(self) -> str:
        return f"runs:/{self.run}/{self.path}"


def names_registry(text: str) -> bool:
    """Whether ``text`` means something in a registry, rather than on disk."""
    return text.lower().startswith(_SCHEMES)


def parse(uri: str) -> ModelReference | RunReference:
    """What ``uri`` refers to.

    Raises:
        RegistryError: it is none of the forms above.
    """
    if match := _MODEL.fullmatch(uri):
        return ModelReference(match["name"], match["version"] or "", match["alias"] or "")
    if match := _RUN.fullmatch(uri):
        return RunReference(match["run"], match["path"].strip("/"))
    raise RegistryError(f"{uri}: must be models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/PATH")


def parse_model(uri: str) -> ModelReference:
    """As ``parse``, where only a version of a model will do.

    Raises:
        RegistryError: it is something else.
    """
    found = parse(uri)
    if isinstance(found, RunReference):
        raise RegistryError(
            f"{uri}: is a run's artifact; name a model package, as models:/NAME@ALIAS"
        )
    return found
