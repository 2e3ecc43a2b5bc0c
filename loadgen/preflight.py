"""Questions to a server before the load: is it there, is it the model, what images does it hold."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from loadgen.endpoint import Endpoint
from loadgen.errors import LoadError
from loadgen.form import Protocol
from loadgen.images import Image, held_images

PATIENCE_S = 10


def only_model(where: Endpoint, headers: Mapping[str, str]) -> str:
    """The name of the one model that a server has.

    Raises:
        LoadError: it has none or several, or cannot be asked.
    """
    if where.scheme == "grpc":
        raise LoadError("gRPC has no list of models: name one with --model")
    status, content = _get(where, "/v2/models", headers)
    names = content.get("models") if status == 200 and isinstance(content, dict) else None
    if not isinstance(names, list):
        raise LoadError(f"{where} does not list its models ({status}): name one with --model")
    found = [name["name"] if isinstance(name, dict) else str(name) for name in names]
    if len(found) != 1:
        raise LoadError(f"{where} has {len(found)} models: choose with --model: {', '.join(found)}")
    return found[0]


def require_model(
    where: Endpoint, model: str, protocol: Protocol, headers: Mapping[str, str]
) -> None:
    """Return if the model is there and ready.

    Raises:
        LoadError: it is not, or the server cannot be asked.
    """
    if protocol == "grpc":
        _require_by_grpc(where, model, headers)
        return
    name = quote(model)
    path = f"/v1/models/{name}" if protocol.startswith("v1") else f"/v2/models/{name}/ready"
    status, content = _get(where, path, headers)
    if status == 404:
        raise LoadError(f"{where} has no model {model}: {_error(content)}")
    if status == 503:
        raise LoadError(f"model {model} at {where} is not ready: {_error(content)}")
    if status in (401, 403):
        raise LoadError(f"{where} refuses ({status}): give what it asks for with --header")


def preloaded(
    where: Endpoint, names: tuple[str, ...], headers: Mapping[str, str]
) -> tuple[Image, ...]:
    """The images that a pod holds, all or those ``names``.

    Raises:
        LoadError: it holds none, or not one of these.
    """
    if where.scheme == "grpc":
        if not names:
            raise LoadError("gRPC has no list of preloaded images: name them")
        return held_images(names)
    status, content = _get(where, "/v2/preloaded", headers)
    if status != 200 or not isinstance(content, dict):
        raise LoadError(f"{where} has no preloaded images ({status}): {_error(content)}")
    held = [entry["name"] for entry in content["images"]]
    unknown = sorted(set(names) - set(held))
    if unknown:
        raise LoadError(
            f"{where} holds no image {unknown[0]!r}: GET /v2/preloaded lists the {len(held)} it has"
        )
    if not held:
        raise LoadError(f"{where} holds no preloaded images")
    return held_images(names or held)


def _get(where: Endpoint, path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    address = where.host if where.scheme == "https" else where.address  # TLS checks the name
    connection = kind(address, where.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path, headers={"Host": where.authority, **headers})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise LoadError(f"no server answers at {where}: {reason}") from None
    finally:
        connection.close()
    try:
        return answer.status, orjson.loads(body)
    except ValueError:
        return answer.status, None


def _require_by_grpc(where: Endpoint, model: str, headers: Mapping[str, str]) -> None:
    import grpc

    from loadgen.grpc_pool import OPTIONS
    from loadgen.inference import READY, message

    target = str(where).removeprefix("grpc://")
    asked = message("ModelReadyRequest")(name=model).SerializeToString()
    metadata = tuple((name.lower(), value) for name, value in headers.items())
    with grpc.insecure_channel(target, OPTIONS) as channel:
        try:
            body: bytes = channel.unary_unary(READY)(asked, timeout=PATIENCE_S, metadata=metadata)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            if code == grpc.StatusCode.UNAVAILABLE:
                raise LoadError(f"no server answers at {where}: {details}") from None
            raise LoadError(f"{where} has no model {model}: {code.name}: {details}") from None
    if not message("ModelReadyResponse").FromString(body).ready:
        raise LoadError(f"model {model} at {where} is not ready")


def _error(content: Any) -> str:
    return str(content.get("error", "no reason given") if isinstance(content, dict) else content)
