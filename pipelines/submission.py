"""The pipeline handed to a KFP server."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pipelines.compilation import write
from pipelines.definition import Cluster
from pipelines.errors import PipelineError

TIMEOUT_S = 10.0
# Where Kubernetes projects a token for KFP, if a pod asks for one; KFP's own default.
PROJECTED_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
SERVICE_ACCOUNT = "millrace-pipeline"  # manifests/components/pipeline-access


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run is to be made.

    Attributes:
        host: ``http://HOST:PORT`` of the KFP server, with the path that a gateway has it under.
        namespace: of the run, where KFP serves several users; empty for none.
        experiment: that the run belongs to.
        token_file: file with a bearer token; None: the projected one if there is one.
        service_account: that the steps' pods run as.
    """

    host: str
    namespace: str = ""
    experiment: str = "millrace"
    token_file: Path | None = None
    service_account: str = SERVICE_ACCOUNT


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run that KFP has taken: its id, and its page."""

    run_id: str
    page: str


def submit(arguments: Mapping[str, Any], cluster: Cluster, target: Target, name: str) -> Submitted:
    """Have a KFP server run the pipeline.

    Args:
        arguments: of the pipeline.
        cluster: what is compiled into it.
        target: where.
        name: of the run, for people.

    Raises:
        PipelineError: the server does not answer, or refuses; with its own words.
    """
    host = target.host.rstrip("/")
    token = _token(target)
    _look(host, token)
    with tempfile.TemporaryDirectory(prefix="millrace-submit-") as folder:
        file = Path(folder) / "pipeline.yaml"
        write(cluster, file)
        with _explained(host), _silent():
            made = _client(host, target, token).create_run_from_pipeline_package(
                str(file),
                arguments=dict(arguments),
                run_name=name,
                experiment_name=target.experiment,
                namespace=target.namespace or None,
                service_account=target.service_account,
            )
    return Submitted(made.run_id, f"{host}/#/runs/details/{made.run_id}")


def _client(host: str, target: Target, token: str | None) -> Any:
    from kfp import client

    return client.Client(host=host, namespace=target.namespace, existing_token=token)


def _token(target: Target) -> str | None:
    file = target.token_file or (PROJECTED_TOKEN if PROJECTED_TOKEN.exists() else None)
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{file}: the token cannot be read: {error}") from error


def _look(host: str, token: str | None) -> None:
    """See that KFP answers, since its client takes half a minute to say that nobody does."""
    if not host.startswith(("http://", "https://")):
        raise PipelineError(f"{host!r} is no address of a KFP server: http://HOST:PORT")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(f"{host}/apis/v2beta1/healthz", headers=headers, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PipelineError(f"{host}: no KFP server answers: {error}") from None
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise PipelineError(f"{host}: {answer.status_code}: name a token with --token-file")
    if not answer.is_success:
        raise PipelineError(f"{host}: {answer.status_code}: is it a KFP server of version 2?")


@contextlib.contextmanager
def _explained(host: str) -> Iterator[None]:
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise PipelineError(f"{host}: {error.status}: {_said(error.body)}") from None
    except (HTTPError, TimeoutError, ValueError) as error:
        raise PipelineError(f"{host}: {' '.join(str(error).split())}") from None


def _said(body: object) -> str:
    """KFP's own words: of JSON with ``message``, or as they are."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if isinstance(content, dict):
        text = str(content.get("message") or content.get("error") or text)
    return " ".join(text.split())[:300]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """KFP's client prints, and warns of servers older than it knows."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore", FutureWarning)
        yield
