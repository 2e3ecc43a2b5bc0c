"""The four ways to ask a server what an image shows, with KServe's own clients."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    InferResponse,
    RESTConfig,
)

IMAGES_PER_REQUEST = 16
REQUESTS_IN_FLIGHT = 4
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model is served."""

    model: str
    http_port: int
    grpc_port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Base URL of the HTTP side."""
        return f"http://{self.host}:{self.http_port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says one image shows: its best class."""

    label: str
    index: int
    score: float


class Client(Protocol):
    """One protocol's way of asking."""

    protocol: str

    async def classify(self, images: Sequence[bytes]) -> list[Answer]:
        """Answers for encoded ``images``, in their order, from one request."""

    async def close(self) -> None:
        """End the connections."""


class V1Client:
    """The v1 protocol: JSON, each image in base64."""

    protocol = "v1"

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client = InferenceRESTClient(RESTConfig(protocol="v1", timeout=TIMEOUT_S))

    async def classify(self, images: Sequence[bytes]) -> list[Answer]:
        """See ``Client``."""
        instances = [{"image_bytes": {"b64": base64.b64encode(jpeg).decode()}} for jpeg in images]
        response = await self._client.infer(
            self._address.url, {"instances": instances}, model_name=self._address.model
        )
        return [
            Answer(prediction["label"], prediction["index"], prediction["score"])
            for prediction in response["predictions"]
        ]

    async def close(self) -> None:
        """See ``Client``."""
        await self._client.close()


class V2Client:
    """The v2 protocol over HTTP: the images raw behind a JSON header, or base64 inside the JSON."""

    def __init__(self, address: Address, *, binary: bool) -> None:
        self.protocol = "v2 binary" if binary else "v2 JSON"
        self._input = _raw_input if binary else _base64_input
        self._parameters = {"binary_data_output": binary}
        self._address = address
        self._client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=TIMEOUT_S))

    async def classify(self, images: Sequence[bytes]) -> list[Answer]:
        """See ``Client``."""
        model = self._address.model
        request = InferRequest(model, [self._input(images)], parameters=self._parameters)
        response = await self._client.infer(self._address.url, request, model_name=model)
        return _best(response)

    async def close(self) -> None:
        """See ``Client``."""
        await self._client.close()


class GrpcClient:
    """The v2 protocol over gRPC, the images raw."""

    protocol = "gRPC"

    def __init__(self, address: Address) -> None:
        self._model = address.model
        target = f"{address.host}:{address.grpc_port}"
        self._client = InferenceGRPCClient(target, timeout=TIMEOUT_S)

    async def classify(self, images: Sequence[bytes]) -> list[Answer]:
        """See ``Client``."""
        return _best(await self._client.infer(InferRequest(self._model, [_raw_input(images)])))

    async def close(self) -> None:
        """See ``Client``."""
        await self._client.close()


def _raw_input(images: Sequence[bytes]) -> InferInput:
    encoded = InferInput("image", [len(images)], "BYTES")
    encoded.set_data_from_numpy(np.array(images, dtype=object), binary_data=True)
    return encoded


def _base64_input(images: Sequence[bytes]) -> InferInput:
    text = [base64.b64encode(image).decode() for image in images]
    parameters = {"content_type": "base64"}
    return InferInput("image", [len(images)], "BYTES", data=text, parameters=parameters)


def _best(response: InferResponse) -> list[Answer]:
    """The first column of the three outputs, each [N, k] with the best class first."""
    outputs = {output.name: output.as_numpy() for output in response.outputs}
    return [
        Answer(label if isinstance(label, str) else label.decode(), int(index), float(score))
        for label, index, score in zip(
            outputs["labels"][:, 0], outputs["indices"][:, 0], outputs["scores"][:, 0], strict=True
        )
    ]


@dataclass(frozen=True, slots=True)
class Reading:
    """Every image asked about through one protocol."""

    protocol: str
    answers: tuple[Answer, ...]
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Over the whole reading, as the client saw it."""
        return len(self.answers) / self.seconds


async def read_all(address: Address, images: Sequence[bytes]) -> list[Reading]:
    """Ask about every image through each of the four protocols, one protocol after the other."""
    clients: list[Client] = [
        V1Client(address),
        V2Client(address, binary=True),
        V2Client(address, binary=False),
        GrpcClient(address),
    ]
    try:
        return [await _read(client, images) for client in clients]
    finally:
        for client in clients:
            await client.close()


async def _read(client: Client, images: Sequence[bytes]) -> Reading:
    turn = asyncio.Semaphore(REQUESTS_IN_FLIGHT)

    async def ask(some: Sequence[bytes]) -> list[Answer]:
        async with turn:
            return await client.classify(some)

    step = IMAGES_PER_REQUEST
    requests = [images[at : at + step] for at in range(0, len(images), step)]
    started = time.perf_counter()
    answered = await asyncio.gather(*(ask(request) for request in requests))
    seconds = time.perf_counter() - started
    return Reading(client.protocol, tuple(answer for part in answered for answer in part), seconds)
