"""The way to an MLflow registry: a client of it, and what can go wrong in one line."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from model_store.errors import NotRegisteredError, RegistryDownError, RegistryError, one_line
from model_store.registry.address import database_file, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

EXPERIMENT = "millrace"  # whose runs hold the artifacts of what is registered
# MLflow's own patience is minutes: a command should say within seconds that nobody answers, and
# whoever can wait asks again.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_SILENCE = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND", "ENDPOINT_NOT_FOUND")
_REFUSED = ("RESOURCE_ALREADY_EXISTS", "BAD_REQUEST")
_DENIED = ("PERMISSION_DENIED", "UNAUTHENTICATED")  # not for ever: a token is renewed
_AND_SO_ON = re.compile(r"\.? (?:Response body: |\[SQL: |\(Background on this error)")
_WHY = re.compile(r"\[Errno -?\d+\] ([A-Z][\w ]+)|(timed out|[Tt]imeout)")


def connect(uri: str, *, create: bool = False) -> MlflowClient:
    """A client of the registry at ``uri``, a tracking URI as MLflow understands them.

    Args:
        uri: where it is.
        create: make an embedded one that is not there yet.

    Raises:
        RegistryError: MLflow is not installed, or there is nothing at ``uri``.
    """
    for name, value in (_PATIENCE | _SILENCE).items():
        os.environ.setdefault(name, value)
    file = database_file(uri)
    if file is not None:
        _prepare(file, uri, create)
    try:
        import mlflow
    except ImportError as error:
        raise RegistryError(
            f"a registry needs MLflow: pip install 'millrace[registry]' ({one_line(error)})"
        ) from error
    for chatty in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with speaking_to(uri):
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _prepare(file: Path, uri: str, create: bool) -> None:
    if file.exists():
        return
    if not create:
        raise NotRegisteredError(
            f"no registry at {uri} yet: `millrace models register` makes one; "
            "--registry or MLFLOW_TRACKING_URI names another"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryError(f"{file.parent}: cannot be made: {error.strerror}") from error


@contextlib.contextmanager
def speaking_to(uri: str) -> Iterator[None]:
    """Turn whatever MLflow raises into one line.

    Raises:
        NotRegisteredError: the registry knows no such thing.
        RegistryDownError: it does not answer.
        RegistryError: it refuses.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        raise _told(error, uri) from error
    except ImportError as error:  # of a database's driver, say
        raise RegistryError(f"registry {shown(uri)}: not installed: {reason(error)}") from error
    except (RequestException, SQLAlchemyError, OSError) as error:
        raise RegistryDownError(f"registry {shown(uri)}: {reason(error)}") from error


def _told(error: MlflowException, uri: str) -> RegistryError:
    line, code = shown(one_line(error))[:300], getattr(error, "error_code", "")
    line = re.sub(r"^[A-Z_]+: ", "", line)
    if code in _MISSING:
        return NotRegisteredError(f"registry {shown(uri)}: {line}")
    if code in _REFUSED:
        return RegistryError(f"registry {shown(uri)}: {line}")
    if code in _DENIED:
        return RegistryDownError(f"registry {shown(uri)}: {line}")
    return RegistryDownError(f"registry {shown(uri)}: {reason(error)}")


def reason(error: Exception) -> str:
    """Why there was no answer, in a few words where they can be found in a long text."""
    line = _AND_SO_ON.split(shown(one_line(error)))[0]
    if found := _WHY.search(line):
        return (found[1] or "no answer in time").strip()
    return line[:200] or type(error).__name__
